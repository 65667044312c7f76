//! Stories of the router, over the embedded store.

mod agent;
mod app;
mod build;
mod cost;
mod dry_run;
mod fixture;
mod git_key;
mod instance;
mod junk;
mod machine;
mod matrix;
mod parameter;
mod person;
mod repair;
mod report;
mod socket;
mod state;
mod template;
mod workspace;
