//! Editors that open a workspace over SSH: the command of each, and the link that stands for it.

use clap::ValueEnum;
use serde::Serialize;

/// An editor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Editor {
    /// Visual Studio Code
    Vscode,
    /// Visual Studio Code Insiders
    VscodeInsiders,
    /// VSCodium
    Vscodium,
    /// Cursor
    Cursor,
    /// Windsurf
    Windsurf,
    /// Zed
    Zed,
    /// JetBrains Gateway
    Jetbrains,
}

impl Editor {
    /// For people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vscode => "VS Code",
            Self::VscodeInsiders => "VS Code Insiders",
            Self::Vscodium => "VSCodium",
            Self::Cursor => "Cursor",
            Self::Windsurf => "Windsurf",
            Self::Zed => "Zed",
            Self::Jetbrains => "JetBrains Gateway",
        }
    }

    /// The programs that open it, the usual one first. Gateway has none that takes a place.
    #[must_use]
    pub const fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Vscode => &["code"],
            Self::VscodeInsiders => &["code-insiders"],
            Self::Vscodium => &["codium"],
            Self::Cursor => &["cursor"],
            Self::Windsurf => &["windsurf"],
            Self::Zed => &["zed", "zeditor"],
            Self::Jetbrains => &[],
        }
    }

    /// What such a program is told to open `directory` at `host`.
    #[must_use]
    pub fn arguments(self, host: &str, directory: &str) -> Vec<String> {
        match self {
            Self::Zed | Self::Jetbrains => vec![format!("ssh://{host}{}", escaped(directory))],
            _ => vec!["--remote".to_owned(), format!("ssh-remote+{host}"), directory.to_owned()],
        }
    }

    /// The link for the same.
    #[must_use]
    pub fn link(self, host: &str, user: &str, directory: &str) -> String {
        let path = escaped(directory);
        let scheme = match self {
            Self::Vscode => "vscode",
            Self::VscodeInsiders => "vscode-insiders",
            Self::Vscodium => "vscodium",
            Self::Cursor => "cursor",
            Self::Windsurf => "windsurf",
            Self::Zed => return format!("zed://ssh/{host}{path}"),
            Self::Jetbrains => {
                return format!(
                    "jetbrains-gateway://connect#type=ssh&deploy=true&host={host}&port=22&user={}&projectPath={path}",
                    escaped(user)
                );
            }
        };
        format!("{scheme}://vscode-remote/ssh-remote+{host}{path}")
    }
}

/// Percent-encoded, but for what a path of a link may hold (RFC 3986, section 3.3).
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_editor_has_its_command_and_its_link() {
        let shown: Vec<String> = Editor::value_variants()
            .iter()
            .map(|editor| {
                let command = [editor.programs().first().copied().unwrap_or("-").to_owned()]
                    .into_iter()
                    .chain(editor.arguments("dev.berth", "/home/a b"))
                    .collect::<Vec<_>>();
                format!("{}\n  {}", command.join(" "), editor.link("dev.berth", "ada", "/home/a b"))
            })
            .collect();
        insta::assert_snapshot!(shown.join("\n"), @r"
        code --remote ssh-remote+dev.berth /home/a b
          vscode://vscode-remote/ssh-remote+dev.berth/home/a%20b
        code-insiders --remote ssh-remote+dev.berth /home/a b
          vscode-insiders://vscode-remote/ssh-remote+dev.berth/home/a%20b
        codium --remote ssh-remote+dev.berth /home/a b
          vscodium://vscode-remote/ssh-remote+dev.berth/home/a%20b
        cursor --remote ssh-remote+dev.berth /home/a b
          cursor://vscode-remote/ssh-remote+dev.berth/home/a%20b
        windsurf --remote ssh-remote+dev.berth /home/a b
          windsurf://vscode-remote/ssh-remote+dev.berth/home/a%20b
        zed ssh://dev.berth/home/a%20b
          zed://ssh/dev.berth/home/a%20b
        - ssh://dev.berth/home/a%20b
          jetbrains-gateway://connect#type=ssh&deploy=true&host=dev.berth&port=22&user=ada&projectPath=/home/a%20b
        ");
    }
}
