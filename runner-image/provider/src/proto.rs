//! The generated messages and services of the two protocols that Terraform speaks to a provider.
#![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, clippy::unwrap_used, clippy::too_many_lines)]

/// The provider protocol, version 6.
pub(crate) mod provider {
    tonic::include_proto!("tfplugin6");
}

/// The plugin controller.
pub(crate) mod controller {
    tonic::include_proto!("plugin");
}
