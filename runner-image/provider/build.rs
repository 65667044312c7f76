//! Generates the gRPC server from our own protocol files, with a compiler written in Rust: no `protoc` is needed.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let files = ["proto/provider.proto", "proto/controller.proto"];
    for file in files {
        println!("cargo::rerun-if-changed={file}");
    }
    let descriptors = protox::compile(files, ["proto"])?;
    tonic_prost_build::configure().build_client(false).build_transport(true).compile_fds(descriptors)?;
    Ok(())
}
