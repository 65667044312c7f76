//! The Terraform provider that builds use: every `coder_*` type of a template, and our own `berth_*`.
//!
//! [`serve`] serves it on a Unix socket inside the runner; [`Served::reattach_json`] tells Terraform where. All that it
//! knows of a build is the [`Environment`] that the caller gives. [`plugin`] serves the same to a Terraform that starts it as an
//! ordinary provider executable. [`schema`] is the table that describes every type;
//! the engine behind the socket reads only that table, so a new type is new rows.

mod behaviour;
mod connection;
mod diagnostic;
mod directory;
mod encode;
mod engine;
mod environment;
mod existing;
mod machine;
mod parameter;
mod plan;
pub mod plugin;
mod process;
mod proto;
mod schema;
mod serve;
mod service;
mod upgrade;
mod url;
mod validate;
mod value;

pub use environment::{
    Environment, agent_script_env_name, external_auth_env_name, parameter_env_name, parameter_previous_env_name,
    running_agent_token_env_name,
};
pub use existing::{Existing, existing};
pub use process::{EndError, end_strays};
pub use schema::{
    Attribute, Block, Default, Kind, Nested, Nesting, Noun, OUR_TYPE_PREFIXES, PROVIDER, Presence, ReadVerb, ResourceVerbs, Type,
    schema,
};
pub use serve::{HOSTS, SOURCES, ServeError, Served, serve};
