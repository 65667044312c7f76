//! A person at a real terminal: tmux draws it, keys are typed, the screen is read.

use crate::harness::{Berth, binaries, eventually, finish};
use std::{
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
};

/// `berth` in a terminal; when it has ended its exit code is on the screen as `code=...`. Dropping it closes the terminal.
pub(crate) struct Terminal<'a> {
    berth: &'a Berth,
    socket: PathBuf,
}

impl<'a> Terminal<'a> {
    /// Types this command; the words hold nothing that a shell would change.
    pub(crate) fn start(berth: &'a Berth, words: &[&str]) -> Self {
        // A terminal that closes takes its socket with it: the next one has its own.
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let socket = berth.home().join(format!("terminal{}", COUNT.fetch_add(1, Ordering::Relaxed)));
        let terminal = Self { berth, socket };
        let (home, program) = (berth.home().display(), binaries().join("berth"));
        let line = format!("HOME={home} BERTH_CONFIG_DIR={home}/config {} {}", program.display(), words.join(" "));
        let line = format!("{line}; echo code=$?; exec cat");
        terminal.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", "110", "-y", "50", &line]);
        terminal
    }

    /// Presses these keys, by tmux's names.
    pub(crate) fn types(&self, keys: &[&str]) -> &Self {
        self.tmux(&[&["send-keys"], keys].concat());
        self
    }

    /// Waits until the screen shows this.
    pub(crate) fn shows(&self, text: &str) -> &Self {
        eventually(&format!("{text:?} on the screen"), || self.tmux(&["capture-pane", "-p"]).contains(text).then_some(()));
        self
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let answer = finish(self.berth.program("tmux").arg("-S").arg(&self.socket).args(arguments));
        assert_eq!(answer.code, Some(0), "tmux {arguments:?}: {answer:?}");
        answer.stdout
    }
}

impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let screen = finish(self.berth.program("tmux").arg("-S").arg(&self.socket).args(["capture-pane", "-p"]));
            eprintln!("--- the terminal ---\n{}", screen.stdout);
        }
        let _gone = finish(self.berth.program("tmux").arg("-S").arg(&self.socket).arg("kill-server"));
    }
}
