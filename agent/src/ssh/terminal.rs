//! Terminals: opening one as the client asked, with its modes and size.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use pty_process::{Pts, Size};
use russh::Pty as Opcode;
use rustix::termios::{
    ControlModes, InputModes, LocalModes, OptionalActions, OutputModes, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};

/// Rows and columns when the client names none, as a terminal of 1978 had.
const DEFAULT_SIZE: (u16, u16) = (24, 80);

/// A client's `pty-req`.
#[derive(Clone, Debug)]
pub(super) struct TerminalRequest {
    /// The client's `TERM`.
    pub(super) term: String,
    /// Size in characters and pixels.
    pub(super) size: Size,
    /// Modes and special characters (RFC 4254 section 8).
    pub(super) modes: Vec<(Opcode, u32)>,
}

/// An open terminal that no process uses yet.
pub(super) struct Terminal {
    /// The agent's side.
    pub(super) pty: pty_process::Pty,
    /// The process's side.
    pub(super) pts: Pts,
    /// Its device, for `SSH_TTY`.
    pub(super) path: PathBuf,
}

impl Terminal {
    /// Opens a terminal and sets it up as asked.
    pub(super) fn open(request: &TerminalRequest) -> io::Result<Terminal> {
        let (pty, pts) = pty_process::open().map_err(io::Error::other)?;
        pty.resize(request.size).map_err(io::Error::other)?;
        let mut settings = tcgetattr(pts.as_fd())?;
        for (opcode, value) in &request.modes {
            apply(&mut settings, *opcode, *value);
        }
        tcsetattr(pts.as_fd(), OptionalActions::Now, &settings)?;
        let path = rustix::pty::ptsname(pty.as_fd(), Vec::new())?;
        Ok(Terminal { pty, pts, path: PathBuf::from(OsString::from_vec(path.into_bytes())) })
    }
}

/// A size as SSH sends it. Zero means unknown.
pub(crate) fn size(columns: u32, rows: u32, width: u32, height: u32) -> Size {
    let cells = |count: u32, default: u16| match u16::try_from(count) {
        Ok(0) => default,
        Ok(count) => count,
        Err(_) => u16::MAX,
    };
    let pixels = |count: u32| u16::try_from(count).unwrap_or(0);
    Size::new_with_pixel(cells(rows, DEFAULT_SIZE.0), cells(columns, DEFAULT_SIZE.1), pixels(width), pixels(height))
}

fn apply(settings: &mut Termios, opcode: Opcode, value: u32) {
    let on = value != 0;
    if let Some(set_speed) = speed(opcode) {
        // A speed the kernel does not have leaves the one it has: no terminal of ours sends bits over a wire.
        set_speed(settings, value).ok();
    } else if let Some(index) = special_code(opcode) {
        // 255 says "no such character" on the wire (RFC 4254 section 8); POSIX writes that as 0 here.
        settings.special_codes[index] = u8::try_from(value).map_or(0, |code| if code == u8::MAX { 0 } else { code });
    } else if let Some(mode) = input_mode(opcode) {
        settings.input_modes.set(mode, on);
    } else if let Some(mode) = local_mode(opcode) {
        settings.local_modes.set(mode, on);
    } else if let Some(mode) = output_mode(opcode) {
        settings.output_modes.set(mode, on);
    } else if let Some((mask, mode)) = control_mode(opcode)
        && on
    {
        settings.control_modes.remove(mask);
        settings.control_modes.insert(mode);
    }
}

fn speed(opcode: Opcode) -> Option<fn(&mut Termios, u32) -> rustix::io::Result<()>> {
    match opcode {
        Opcode::TTY_OP_ISPEED => Some(Termios::set_input_speed),
        Opcode::TTY_OP_OSPEED => Some(Termios::set_output_speed),
        _ => None,
    }
}

fn special_code(opcode: Opcode) -> Option<SpecialCodeIndex> {
    Some(match opcode {
        Opcode::VINTR => SpecialCodeIndex::VINTR,
        Opcode::VQUIT => SpecialCodeIndex::VQUIT,
        Opcode::VERASE => SpecialCodeIndex::VERASE,
        Opcode::VKILL => SpecialCodeIndex::VKILL,
        Opcode::VEOF => SpecialCodeIndex::VEOF,
        Opcode::VEOL => SpecialCodeIndex::VEOL,
        Opcode::VEOL2 => SpecialCodeIndex::VEOL2,
        Opcode::VSTART => SpecialCodeIndex::VSTART,
        Opcode::VSTOP => SpecialCodeIndex::VSTOP,
        Opcode::VSUSP => SpecialCodeIndex::VSUSP,
        Opcode::VREPRINT => SpecialCodeIndex::VREPRINT,
        Opcode::VWERASE => SpecialCodeIndex::VWERASE,
        Opcode::VLNEXT => SpecialCodeIndex::VLNEXT,
        Opcode::VDISCARD => SpecialCodeIndex::VDISCARD,
        #[cfg(target_os = "linux")]
        Opcode::VSWTCH => SpecialCodeIndex::VSWTC,
        _ => return None,
    })
}

fn input_mode(opcode: Opcode) -> Option<InputModes> {
    Some(match opcode {
        Opcode::IGNPAR => InputModes::IGNPAR,
        Opcode::PARMRK => InputModes::PARMRK,
        Opcode::INPCK => InputModes::INPCK,
        Opcode::ISTRIP => InputModes::ISTRIP,
        Opcode::INLCR => InputModes::INLCR,
        Opcode::IGNCR => InputModes::IGNCR,
        Opcode::ICRNL => InputModes::ICRNL,
        Opcode::IXON => InputModes::IXON,
        Opcode::IXANY => InputModes::IXANY,
        Opcode::IXOFF => InputModes::IXOFF,
        Opcode::IMAXBEL => InputModes::IMAXBEL,
        #[cfg(any(target_os = "linux", target_os = "macos"))]
        Opcode::IUTF8 => InputModes::IUTF8,
        #[cfg(target_os = "linux")]
        Opcode::IUCLC => InputModes::IUCLC,
        _ => return None,
    })
}

fn local_mode(opcode: Opcode) -> Option<LocalModes> {
    Some(match opcode {
        Opcode::ISIG => LocalModes::ISIG,
        Opcode::ICANON => LocalModes::ICANON,
        Opcode::ECHO => LocalModes::ECHO,
        Opcode::ECHOE => LocalModes::ECHOE,
        Opcode::ECHOK => LocalModes::ECHOK,
        Opcode::ECHONL => LocalModes::ECHONL,
        Opcode::NOFLSH => LocalModes::NOFLSH,
        Opcode::TOSTOP => LocalModes::TOSTOP,
        Opcode::IEXTEN => LocalModes::IEXTEN,
        Opcode::ECHOCTL => LocalModes::ECHOCTL,
        Opcode::ECHOKE => LocalModes::ECHOKE,
        Opcode::PENDIN => LocalModes::PENDIN,
        #[cfg(target_os = "linux")]
        Opcode::XCASE => LocalModes::XCASE,
        _ => return None,
    })
}

fn output_mode(opcode: Opcode) -> Option<OutputModes> {
    Some(match opcode {
        Opcode::OPOST => OutputModes::OPOST,
        Opcode::ONLCR => OutputModes::ONLCR,
        Opcode::OCRNL => OutputModes::OCRNL,
        Opcode::ONOCR => OutputModes::ONOCR,
        Opcode::ONLRET => OutputModes::ONLRET,
        Opcode::OLCUC => OutputModes::OLCUC,
        _ => return None,
    })
}

/// The bits to clear and the bits to set when the opcode is on.
fn control_mode(opcode: Opcode) -> Option<(ControlModes, ControlModes)> {
    Some(match opcode {
        Opcode::CS7 => (ControlModes::CSIZE, ControlModes::CS7),
        Opcode::CS8 => (ControlModes::CSIZE, ControlModes::CS8),
        Opcode::PARENB => (ControlModes::empty(), ControlModes::PARENB),
        Opcode::PARODD => (ControlModes::empty(), ControlModes::PARODD),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn modes_and_size_reach_the_terminal() {
        let request = TerminalRequest {
            term: "xterm".to_owned(),
            size: size(132, 50, 0, 0),
            modes: vec![
                (Opcode::ECHO, 0),
                (Opcode::ICRNL, 0),
                (Opcode::VINTR, 24),
                (Opcode::VQUIT, 255),
                (Opcode::IXON, 1),
                (Opcode::TTY_OP_ISPEED, 9600),
                (Opcode::TTY_OP_OSPEED, 9600),
            ],
        };
        let terminal = Terminal::open(&request).unwrap();
        let settings = tcgetattr(terminal.pts.as_fd()).unwrap();
        assert!(!settings.local_modes.contains(LocalModes::ECHO));
        assert!(!settings.input_modes.contains(InputModes::ICRNL));
        assert!(settings.input_modes.contains(InputModes::IXON));
        assert_eq!(settings.special_codes[SpecialCodeIndex::VINTR], 24);
        assert_eq!(settings.special_codes[SpecialCodeIndex::VQUIT], 0);
        assert_eq!((settings.input_speed(), settings.output_speed()), (9600, 9600));
        let window = rustix::termios::tcgetwinsize(terminal.pts.as_fd()).unwrap();
        assert_eq!((window.ws_row, window.ws_col), (50, 132));
        assert!(terminal.path.exists());
    }
}
