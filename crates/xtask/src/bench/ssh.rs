//! SSH: a command on a warm agent, and bulk, against OpenSSH to a local `sshd`.

use super::{
    Row, median,
    rival::{Duel, milliseconds},
    world::World,
};
use crate::run::Outcome;

const ROUNDS: usize = 15;
const BULK_ROUNDS: usize = 5;
const BULK_MIB: u32 = 512;
/// What `berth config-ssh` prefers, so that both sides use one cipher.
const CIPHER: &str = "aes256-gcm@openssh.com";

/// `berth ssh dev -- true` against `ssh localhost true`, and stock `ssh dev.berth true` besides.
pub(crate) fn round(world: &World) -> Outcome<Vec<Row>> {
    let own = Duel::run(ROUNDS, || world.berth(&["ssh", "dev", "--", "true"]), || world.ssh_direct(&["true"]))?;
    let stock = Duel::run(ROUNDS, || world.ssh_berth(&[], &["true"]), || world.ssh_direct(&["true"]))?;
    let row = |what, duel: &Duel, aim| Row {
        what,
        ours: milliseconds(&duel.ours),
        rival: format!("ssh to sshd {}", milliseconds(&duel.rival)),
        ratio: format!("{:.2}", duel.ratio()),
        aim,
    };
    Ok(vec![row("`berth ssh dev -- true`, warm agent", &own, "at most 2"), row("stock `ssh dev.berth true`", &stock, "")])
}

/// Bulk down through `ssh dev.berth` against OpenSSH direct, same cipher.
pub(crate) fn bulk(world: &World) -> Outcome<Vec<Row>> {
    let send = format!("head -c {BULK_MIB}M /dev/zero");
    let cipher = format!("Ciphers={CIPHER}");
    let duel = Duel::run(
        BULK_ROUNDS,
        || world.ssh_berth(&["-o", &cipher], &[&send]),
        || {
            let mut direct = world.ssh_direct(&[]);
            direct.args(["-o", &cipher]).arg(&send);
            direct
        },
    )?;
    let rate = |values: &[f64]| format!("{:.0} MiB/s", f64::from(BULK_MIB) / median(values.to_vec()) * 1000.0);
    Ok(vec![Row {
        what: "512 MiB down, `ssh dev.berth`, aes256-gcm",
        ours: rate(&duel.ours),
        rival: format!("ssh to sshd {}", rate(&duel.rival)),
        ratio: format!("{:.2}", 1.0 / duel.ratio()),
        aim: "at least 0.6",
    }])
}
