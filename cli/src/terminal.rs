//! The person's terminal: raw while a remote shell has it, and back as it was however the command ends.

use rustix::termios::{self, LocalModes, OptionalActions, SpecialCodeIndex, Termios};
use std::{
    io::{self, IsTerminal},
    panic,
    sync::{Mutex, Once, PoisonError},
};

/// How the terminal was, for the panic hook: the release build aborts on a panic, and then no `Drop` runs.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);
static HOOK: Once = Once::new();

/// A size in characters and pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Characters in a row.
    pub columns: u32,
    /// Rows.
    pub rows: u32,
    /// Width in pixels, or 0.
    pub width: u32,
    /// Height in pixels, or 0.
    pub height: u32,
}

impl Size {
    /// The terminal's size; 80 by 24 where there is none to be known.
    #[must_use]
    pub fn now() -> Self {
        let known =
            termios::tcgetwinsize(io::stdout()).or_else(|_| termios::tcgetwinsize(io::stdin())).ok().filter(|size| size.ws_col > 0);
        known.map_or(Self { columns: 80, rows: 24, width: 0, height: 0 }, |size| Self {
            columns: size.ws_col.into(),
            rows: size.ws_row.into(),
            width: size.ws_xpixel.into(),
            height: size.ws_ypixel.into(),
        })
    }
}

/// Whether stdin is a terminal.
#[must_use]
pub fn is_present() -> bool {
    io::stdin().is_terminal()
}

/// The terminal in raw mode, until this is dropped.
#[derive(Debug)]
pub struct RawMode(());

impl RawMode {
    /// Makes the terminal raw: every key goes to the other side.
    ///
    /// # Errors
    /// When stdin is no terminal.
    pub fn enter() -> io::Result<Self> {
        let before = termios::tcgetattr(io::stdin())?;
        HOOK.call_once(restore_on_panic);
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before.clone());
        make_raw(before)?;
        Ok(Self(()))
    }

    /// Stops this program, with the terminal as it was, until the shell that started it goes on with it.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn suspend(&self) -> io::Result<()> {
        restore();
        rustix::process::kill_current_process_group(rustix::process::Signal::TSTP)?;
        // From here on we go on.
        let before = termios::tcgetattr(io::stdin())?;
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before.clone());
        make_raw(before)
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

fn make_raw(mut terminal: Termios) -> io::Result<()> {
    terminal.make_raw();
    Ok(termios::tcsetattr(io::stdin(), OptionalActions::Drain, &terminal)?)
}

fn restore() {
    if let Some(before) = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take() {
        // The terminal may be gone; then there is nothing to restore.
        let _restored = termios::tcsetattr(io::stdin(), OptionalActions::Drain, &before);
    }
}

fn restore_on_panic() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        restore();
        usual(panic);
    }));
}

/// The keys and modes that a remote terminal is to share with ours.
#[must_use]
pub fn modes() -> Vec<(russh::Pty, u32)> {
    const KEYS: [(russh::Pty, SpecialCodeIndex); 10] = [
        (russh::Pty::VINTR, SpecialCodeIndex::VINTR),
        (russh::Pty::VQUIT, SpecialCodeIndex::VQUIT),
        (russh::Pty::VERASE, SpecialCodeIndex::VERASE),
        (russh::Pty::VKILL, SpecialCodeIndex::VKILL),
        (russh::Pty::VEOF, SpecialCodeIndex::VEOF),
        (russh::Pty::VSUSP, SpecialCodeIndex::VSUSP),
        (russh::Pty::VWERASE, SpecialCodeIndex::VWERASE),
        (russh::Pty::VREPRINT, SpecialCodeIndex::VREPRINT),
        (russh::Pty::VLNEXT, SpecialCodeIndex::VLNEXT),
        (russh::Pty::VSTOP, SpecialCodeIndex::VSTOP),
    ];
    let Ok(own) = termios::tcgetattr(io::stdin()) else { return vec![(russh::Pty::IUTF8, 1)] };
    let flag = |set: bool| u32::from(set);
    let keys = KEYS.iter().map(|&(there, here)| (there, u32::from(own.special_codes[here])));
    let modes = [
        (russh::Pty::IUTF8, 1),
        (russh::Pty::ICRNL, flag(own.input_modes.contains(termios::InputModes::ICRNL))),
        (russh::Pty::IXON, flag(own.input_modes.contains(termios::InputModes::IXON))),
        (russh::Pty::ISIG, flag(own.local_modes.contains(LocalModes::ISIG))),
        (russh::Pty::ICANON, flag(own.local_modes.contains(LocalModes::ICANON))),
        (russh::Pty::ECHO, flag(own.local_modes.contains(LocalModes::ECHO))),
        (russh::Pty::ECHOE, flag(own.local_modes.contains(LocalModes::ECHOE))),
        (russh::Pty::ECHOK, flag(own.local_modes.contains(LocalModes::ECHOK))),
        (russh::Pty::OPOST, 1),
        (russh::Pty::ONLCR, 1),
    ];
    keys.chain(modes).collect()
}
