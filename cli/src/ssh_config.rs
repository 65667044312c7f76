//! What `config-ssh` writes: our own file of `Host` blocks, and one `Include` line at the top of the person's `~/.ssh/config`.
//!
//! Text in, text out; the command does the reading and writing.

use crate::{
    failure::{Failure, Outcome},
    known_hosts,
};
use std::path::Path;

/// Our file's name in the configuration directory.
pub const FILE: &str = "ssh_config";
const BEGIN: &str = "# >>> berth >>> written by `berth config-ssh`; `berth config-ssh --remove` takes it away";
const BEGIN_MARK: &str = "# >>> berth >>>";
const END: &str = "# <<< berth <<<";

/// Options a person may add with `-o`: none of them starts a program, reads another configuration or touches what pins the host key.
const ALLOWED: &[&str] = &[
    "AddKeysToAgent",
    "AddressFamily",
    "BatchMode",
    "ChannelTimeout",
    "Ciphers",
    "ClearAllForwardings",
    "Compression",
    "ConnectionAttempts",
    "ConnectTimeout",
    "ControlMaster",
    "ControlPath",
    "ControlPersist",
    "DynamicForward",
    "EnableEscapeCommandline",
    "EscapeChar",
    "ExitOnForwardFailure",
    "ForkAfterAuthentication",
    "ForwardAgent",
    "ForwardX11",
    "ForwardX11Timeout",
    "ForwardX11Trusted",
    "GatewayPorts",
    "IdentitiesOnly",
    "IdentityAgent",
    "IdentityFile",
    "IPQoS",
    "KexAlgorithms",
    "LocalForward",
    "LogLevel",
    "LogVerbose",
    "MACs",
    "ObscureKeystrokeTiming",
    "PermitRemoteOpen",
    "RekeyLimit",
    "RemoteForward",
    "RequestTTY",
    "SendEnv",
    "ServerAliveCountMax",
    "ServerAliveInterval",
    "SessionType",
    "SetEnv",
    "StreamLocalBindMask",
    "StreamLocalBindUnlink",
    "Tag",
    "TCPKeepAlive",
    "Tunnel",
    "TunnelDevice",
    "User",
    "VisualHostKey",
];

/// What the host blocks are made of.
#[derive(Debug, Clone)]
pub struct HostBlocks<'a> {
    /// The `berth` executable, absolute.
    pub executable: &'a Path,
    /// The configuration directory, absolute.
    pub directory: &'a Path,
    /// The ending of host names, without a dot.
    pub suffix: &'a str,
    /// A beginning of host names, besides.
    pub prefix: Option<&'a str>,
    /// Whether to wait for start scripts, as `ssh --wait` takes it; none leaves it to the template.
    pub wait: Option<&'a str>,
    /// `-o` options as typed: `Name value` or `Name=value`.
    pub options: &'a [String],
}

impl HostBlocks<'_> {
    /// The text of our file.
    ///
    /// # Errors
    /// When a path, name or option could not stand safely in an SSH configuration.
    pub fn text(&self) -> Outcome<String> {
        let mut text = "# Written by `berth config-ssh`; changes are lost at its next run.\n".to_owned();
        let suffix = host_part("--hostname-suffix", self.suffix)?;
        text.push_str(&self.block(&format!("*.{suffix}"), &format!("--hostname-suffix {suffix}"))?);
        if let Some(prefix) = self.prefix {
            let prefix = host_part("--ssh-host-prefix", prefix)?;
            text.push_str(&self.block(&format!("{prefix}*"), &format!("--ssh-host-prefix {prefix}"))?);
        }
        Ok(text)
    }

    fn block(&self, pattern: &str, form: &str) -> Outcome<String> {
        let proxy = proxy_command((self.executable, self.directory), self.wait, form)?;
        let mut lines = vec![format!("\nHost {pattern}")];
        for option in self.options {
            lines.push(format!("    {}", checked(option)?));
        }
        let known_hosts = self.directory.join(known_hosts::FILE);
        lines.extend([
            format!("    ProxyCommand {proxy}"),
            // Starting a workspace may take minutes.
            "    ConnectTimeout 0".to_owned(),
            "    StrictHostKeyChecking yes".to_owned(),
            format!("    UserKnownHostsFile {}", config_word(path_text(&known_hosts)?)),
            "    GlobalKnownHostsFile /dev/null".to_owned(),
            "    LogLevel ERROR".to_owned(),
            // Fast where the processor knows AES; the connection below is encrypted anyway.
            "    Ciphers ^aes256-gcm@openssh.com".to_owned(),
        ]);
        Ok(lines.join("\n") + "\n")
    }
}

/// The program that leads an SSH client to a workspace: our executable with this configuration directory. `form` are more options of `ssh`.
///
/// # Errors
/// When a path could not stand safely in an SSH configuration.
pub fn proxy_command((executable, directory): (&Path, &Path), wait: Option<&str>, form: &str) -> Outcome<String> {
    let (executable, directory) = (shell_word(path_text(executable)?), shell_word(path_text(directory)?));
    let wait = wait.map(|wait| format!(" --wait={wait}")).unwrap_or_default();
    let form = if form.is_empty() { String::new() } else { format!(" {form}") };
    Ok(format!("{executable} --global-config {directory} ssh --stdio{wait}{form} %h"))
}

/// Reads `Name value` or `Name=value` and gives it as one line.
fn checked(option: &str) -> Outcome<String> {
    let refused = |why: &str| Failure::usage(format!("-o {option:?} {why}")).hint("write it like -o \"ForwardAgent yes\"");
    if option.chars().any(char::is_control) {
        return Err(refused("holds a control character"));
    }
    let option = option.trim();
    let at = option.find([' ', '=', '\t']).ok_or_else(|| refused("has no value"))?;
    let (name, value) = option.split_at(at);
    let value = value.trim_start_matches([' ', '=', '\t']).trim();
    if value.is_empty() {
        return Err(refused("has no value"));
    }
    match ALLOWED.iter().find(|allowed| allowed.eq_ignore_ascii_case(name)) {
        Some(name) => Ok(format!("{name} {value}")),
        None => {
            Err(refused("is not among the options that may be set").hint("see docs/cli.md; put others into your own ~/.ssh/config"))
        }
    }
}

fn host_part<'a>(flag: &str, text: &'a str) -> Outcome<&'a str> {
    let text = text.trim_start_matches('.');
    let fits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
    if fits && !text.starts_with('-') {
        Ok(text)
    } else {
        Err(Failure::usage(format!("{flag} {text:?} cannot be part of a host name")).hint("use letters, digits, dots and hyphens"))
    }
}

pub(crate) fn path_text(path: &Path) -> Outcome<&str> {
    // OpenSSH expands `${NAME}` in some places, and nothing keeps it from that.
    let text = path.to_str().filter(|text| !text.chars().any(char::is_control) && !text.contains("${"));
    text.ok_or_else(|| {
        Failure::new(format!("{path:?} cannot stand in an SSH configuration")).hint("install berth and its configuration elsewhere")
    })
}

/// A word of a ProxyCommand: OpenSSH expands `%` in it, then the person's shell reads it.
fn shell_word(text: &str) -> String {
    let text = text.replace('%', "%%");
    let plain = |character: char| character.is_alphanumeric() || " /._-+=:,@%".contains(character);
    if text.chars().all(plain) { format!("\"{text}\"") } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// A word of the configuration itself, in which OpenSSH expands `%` and `${`.
pub(crate) fn config_word(text: &str) -> String {
    format!("\"{}\"", escaped(&text.replace('%', "%%")))
}

/// Inside double quotes OpenSSH takes `\"` and `\\` for the second character.
fn escaped(text: &str) -> String {
    text.replace('\\', r"\\").replace('"', "\\\"")
}

/// The `Include` line for a file. Its path is a glob pattern, and newer versions also expand `%` and `$` in it: those stand as `?`, which
/// matches them in every version.
///
/// # Errors
/// When the path cannot stand in an SSH configuration.
pub(crate) fn include(path: &Path) -> Outcome<String> {
    let mut pattern = String::new();
    for character in path_text(path)?.chars() {
        match character {
            '%' | '$' => pattern.push('?'),
            '*' | '?' | '[' | ']' | '\\' => pattern.extend(['\\', character]),
            other => pattern.push(other),
        }
    }
    Ok(format!("Include \"{}\"", escaped(&pattern)))
}

/// The person's configuration with our block at its top, or with none: OpenSSH applies what follows a `Host` line to that host only.
///
/// # Errors
/// When a block of ours was begun and not ended, or the path cannot stand in an SSH configuration.
pub fn with_include(text: &str, file: Option<&Path>) -> Outcome<String> {
    let rest = without_block(text)?;
    let Some(file) = file else { return Ok(rest) };
    let block = format!("{BEGIN}\n{}\n{END}\n", include(file)?);
    Ok(if rest.is_empty() { block } else { format!("{block}\n{rest}") })
}

fn without_block(text: &str) -> Outcome<String> {
    let (mut rest, mut inside, mut after) = (String::with_capacity(text.len()), false, false);
    for line in text.split_inclusive('\n') {
        let bare = line.trim();
        if inside {
            (inside, after) = (bare != END, bare == END);
        } else if bare.starts_with(BEGIN_MARK) {
            inside = true;
        } else {
            // The empty line that we put below our block goes with it.
            if !(after && bare.is_empty()) {
                rest.push_str(line);
            }
            after = false;
        }
    }
    if inside {
        return Err(Failure::new(format!("~/.ssh/config holds {BEGIN_MARK:?} without {END:?}"))
            .hint("remove what is left of that block by hand"));
    }
    Ok(rest)
}

/// The lines that differ, between the lines that do not, as `diff -u` shows them.
#[must_use]
pub fn difference(name: &str, before: &str, after: &str) -> String {
    const AROUND: usize = 2;
    let (old, new): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let head = old.iter().zip(&new).take_while(|(one, other)| one == other).count();
    let tail = old.iter().rev().zip(new.iter().rev()).take_while(|(one, other)| one == other).count();
    let tail = tail.min(old.len() - head).min(new.len() - head);
    let part = |lines: &[&str], from: usize, to: usize, mark: &str| -> String {
        lines.get(from..to).unwrap_or_default().iter().map(|line| format!("{mark}{line}\n")).collect()
    };
    [
        format!("--- {name}\n+++ {name}\n"),
        part(&old, head.saturating_sub(AROUND), head, " "),
        part(&old, head, old.len() - tail, "-"),
        part(&new, head, new.len() - tail, "+"),
        part(&old, old.len() - tail, (old.len() - tail + AROUND).min(old.len()), " "),
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(executable: &str, directory: &str, options: &[&str]) -> Outcome<String> {
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        HostBlocks {
            executable: executable.as_ref(),
            directory: directory.as_ref(),
            suffix: "berth",
            prefix: None,
            wait: None,
            options: &options,
        }
        .text()
    }

    #[test]
    fn the_file_reads_so() {
        insta::assert_snapshot!(blocks("/usr/bin/berth", "/home/ada/.config/berth", &["forwardagent=yes"]).unwrap(), @r#"
        # Written by `berth config-ssh`; changes are lost at its next run.

        Host *.berth
            ForwardAgent yes
            ProxyCommand "/usr/bin/berth" --global-config "/home/ada/.config/berth" ssh --stdio --hostname-suffix berth %h
            ConnectTimeout 0
            StrictHostKeyChecking yes
            UserKnownHostsFile "/home/ada/.config/berth/known_hosts"
            GlobalKnownHostsFile /dev/null
            LogLevel ERROR
            Ciphers ^aes256-gcm@openssh.com
        "#);
    }

    #[test]
    fn odd_paths_stay_one_word_for_openssh_and_for_the_shell() {
        let text = blocks("/a b/100%/berth", "/it's $HOME/c", &[]).unwrap();
        assert!(text.contains(r#"ProxyCommand "/a b/100%%/berth" --global-config '/it'\''s $HOME/c' ssh"#), "{text}");
        assert!(text.contains("UserKnownHostsFile \"/it's $HOME/c/known_hosts\""), "{text}");
        assert_eq!(include(Path::new(r#"/a b/1%/x*"\$/c"#)).unwrap(), r#"Include "/a b/1?/x\\*\"\\\\?/c""#);
        assert!(blocks("/a\nb", "/c", &[]).is_err());
    }

    #[test]
    fn an_option_that_could_run_a_program_or_forge_a_line_is_refused() {
        for option in [
            "ProxyCommand nc",
            "LocalCommand x",
            "PermitLocalCommand yes",
            "KnownHostsCommand x",
            "Include /etc/x",
            "Match all",
            "Host *",
            "StrictHostKeyChecking no",
            "UserKnownHostsFile /dev/null",
            "PKCS11Provider x",
            "SecurityKeyProvider x",
            "RemoteCommand x",
            "ForwardAgent",
            "ForwardAgent ",
            "ForwardAgent yes\nProxyCommand evil",
            "ForwardAgent yes\rX",
        ] {
            assert!(blocks("/b", "/c", &[option]).is_err(), "{option:?}");
        }
    }

    #[test]
    fn the_include_comes_first_once_and_goes_without_a_trace() {
        let file = Path::new("/home/ada/.config/berth/ssh_config");
        for config in ["", "Host a\n  User b\n", "\n\nHost a\r\n", "Host a", "# >>> other >>>\n"] {
            let once = with_include(config, Some(file)).unwrap();
            assert!(once.starts_with(BEGIN), "{once}");
            assert!(once.find("Include").unwrap() < once.find("Host a").unwrap_or(usize::MAX));
            assert_eq!(with_include(&once, Some(file)).unwrap(), once);
            assert_eq!(with_include(&once, None).unwrap(), config);
        }
    }

    #[test]
    fn a_block_elsewhere_moves_to_the_top_and_a_broken_one_is_left_alone() {
        let file = Path::new("/c/ssh_config");
        let block = format!("{BEGIN}\nInclude \"/old/ssh_config\"\n{END}\n");
        let moved = with_include(&format!("Host a\n{block}Host b\n"), Some(file)).unwrap();
        assert_eq!(moved, format!("{BEGIN}\nInclude \"/c/ssh_config\"\n{END}\n\nHost a\nHost b\n"));
        let failure = with_include(&format!("{BEGIN}\nInclude x\nHost a\n"), Some(file)).unwrap_err();
        assert!(failure.to_string().contains("without"), "{failure}");
    }

    #[test]
    fn a_difference_shows_what_changes() {
        let before = "Host a\n  User b\n";
        let after = with_include(before, Some(Path::new("/c/s"))).unwrap();
        insta::assert_snapshot!(difference("~/.ssh/config", before, &after), @r#"
        --- ~/.ssh/config
        +++ ~/.ssh/config
        +# >>> berth >>> written by `berth config-ssh`; `berth config-ssh --remove` takes it away
        +Include "/c/s"
        +# <<< berth <<<
        +
         Host a
           User b
        "#);
    }
}
