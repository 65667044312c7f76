//! CPU of the server per request: `GET /workspaces/{id}` with authentication against the bare route `/healthz` of the same axum router.

use super::{Row, median, world::World};
use crate::run::Outcome;
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
};

const REQUESTS: u32 = 3000;
const ROUNDS: usize = 5;

/// Microseconds of user and system time per request, over one kept connection.
pub(crate) fn cpu(world: &World) -> Outcome<Vec<Row>> {
    let shown = world.json(&["show", "dev"])?;
    let id = shown.get("id").and_then(|id| id.as_str()).ok_or("berth show -o json has no id")?;
    let header = format!("Coder-Session-Token: {}\r\n", world.session()?);
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(round(world, &format!("/api/v2/workspaces/{id}"), &header)?);
        bare.push(round(world, "/healthz", "")?);
    }
    let ratio = median(ours.iter().zip(&bare).map(|(ours, bare)| ours / bare).collect());
    Ok(vec![Row {
        what: "server CPU per `GET /workspaces/{id}` with auth",
        ours: format!("{:.0} µs", median(ours)),
        rival: format!("bare axum route {:.0} µs", median(bare)),
        ratio: format!("{ratio:.1}"),
        aim: "",
    }])
}

fn round(world: &World, path: &str, header: &str) -> Outcome<f64> {
    let address = world.url.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let stream = TcpStream::connect(&address).map_err(|error| error.to_string())?;
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let mut reader = BufReader::new(stream.try_clone().map_err(|error| error.to_string())?);
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{header}\r\n");
    let before = ticks(world.server)?;
    for _ in 0..REQUESTS {
        (&stream).write_all(request.as_bytes()).map_err(|error| error.to_string())?;
        read_answer(&mut reader)?;
    }
    let microseconds_per_tick = 1_000_000.0 / 100.0;
    Ok((ticks(world.server)? - before) * microseconds_per_tick / f64::from(REQUESTS))
}

fn read_answer(reader: &mut BufReader<TcpStream>) -> Outcome {
    let (mut line, mut length) = (String::new(), 0_u64);
    reader.read_line(&mut line).map_err(|error| error.to_string())?;
    if !line.starts_with("HTTP/1.1 200") {
        return Err(format!("the server answered {}", line.trim_end()));
    }
    while line.trim_end() != "" {
        line.clear();
        reader.read_line(&mut line).map_err(|error| error.to_string())?;
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().map_err(|_| "a content-length that is no number")?;
        }
    }
    std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink()).map_err(|error| error.to_string())?;
    Ok(())
}

/// User and system time of a process, in clock ticks (1/100 s on Linux).
fn ticks(pid: u32) -> Outcome<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).map_err(|error| error.to_string())?;
    let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let number =
        |position: usize| fields.get(position).and_then(|field| field.parse::<f64>().ok()).ok_or("an unreadable /proc stat");
    Ok(number(11)? + number(12)?)
}
