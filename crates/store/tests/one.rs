//! Stories of the store, on the embedded table.

#[cfg(test)]
mod one {
    mod agent;
    mod auth;
    mod bed;
    mod cost;
    mod durable;
    mod fixture;
    mod job;
    mod log;
    mod moto;
    mod repair;
    mod schedule;
    mod state;
    mod template;
    mod timing;
    mod workspace;
}
