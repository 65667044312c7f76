//! The text that starts an agent on a fresh machine: `coder_agent.init_script`, and `GET /api/v2/init-script/{os}/{arch}`.

/// The script for a platform, `None` for one that has no agent.
///
/// It is POSIX `sh` and holds two placeholders, `${ACCESS_URL}` (ending in `/`) and `${AUTH_TYPE}`, for the provider or [`render`]
/// to fill in. Names are Coder's: `linux`, `darwin`; `amd64`, `arm64`, `armv7`.
#[must_use]
pub fn template(os: &str, arch: &str) -> Option<String> {
    let known = matches!((os, arch), ("linux", "amd64" | "arm64" | "armv7") | ("darwin", "amd64" | "arm64"));
    known.then(|| TEMPLATE.replace("@PLATFORM@", &format!("{os}-{arch}")))
}

/// The script, ready to run. The URL must hold nothing that a shell reads inside double quotes; `None` when it does.
#[must_use]
pub fn render(os: &str, arch: &str, access_url: &str) -> Option<String> {
    let plain = access_url.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"$`\\".contains(&byte));
    let url = format!("{}/", access_url.trim_end_matches('/'));
    template(os, arch).filter(|_| plain).map(|script| script.replace("${ACCESS_URL}", &url).replace("${AUTH_TYPE}", "token"))
}

/// A download goes to a file of its own and is moved into place only when it is whole, so a broken line leaves nothing behind. When
/// the server cannot be reached, the agent of the last start is used: a restart must not need the network more than the agent does.
const TEMPLATE: &str = r#"#!/bin/sh
# Starts the Berth agent: fetches it when this machine has none, then becomes it. Needs curl or wget.
set -eu

CODER_AGENT_URL="${ACCESS_URL}"
CODER_AGENT_AUTH="${AUTH_TYPE}"
export CODER_AGENT_URL CODER_AGENT_AUTH

if [ -n "${BERTH_AGENT_BINARY:-}" ] && [ -x "$BERTH_AGENT_BINARY" ]; then
	exec "$BERTH_AGENT_BINARY"
fi

url="${ACCESS_URL}bin/berth-agent-@PLATFORM@"

say() {
	echo "berth: $*" >&2
}

# The first directory that can be written and that programs may be run from.
home=""
for directory in "${BERTH_AGENT_DIR:-}" "${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/berth" "/var/tmp/berth-$(id -u)" "/tmp/berth-$(id -u)"; do
	[ -n "$directory" ] || continue
	(umask 077 && mkdir -p "$directory") 2>/dev/null || continue
	[ -O "$directory" ] && [ ! -L "$directory" ] || continue
	probe="$directory/probe.$$"
	if printf '#!/bin/sh\nexit 0\n' >"$probe" 2>/dev/null && chmod 700 "$probe" && "$probe" 2>/dev/null; then
		home="$directory"
	fi
	rm -f "$probe"
	[ -z "$home" ] || break
done
if [ -z "$home" ]; then
	say "found no directory to keep the agent in: set BERTH_AGENT_DIR to one that can be written and run from"
	exit 1
fi

agent="$home/berth-agent"
fresh="$home/berth-agent.$$"
trap 'rm -f "$fresh"' EXIT
trap 'exit 130' INT TERM HUP

download() {
	if command -v curl >/dev/null 2>&1; then
		curl -fsSL --connect-timeout 10 --retry 0 -o "$fresh" "$url"
	elif command -v wget >/dev/null 2>&1; then
		wget -q -T 30 -O "$fresh" "$url"
	else
		say "neither curl nor wget is installed: add one to the image, or put the agent at \$BERTH_AGENT_BINARY"
		exit 127
	fi
}

attempt=1
until download && [ -s "$fresh" ] && chmod 700 "$fresh"; do
	rm -f "$fresh"
	if [ -x "$agent" ]; then
		say "cannot download $url: starting the agent of the last time"
		break
	fi
	if [ "$attempt" -ge "${BERTH_AGENT_ATTEMPTS:-60}" ]; then
		say "cannot download $url after $attempt attempts: is the address reachable from here?"
		exit 1
	fi
	say "cannot download $url (attempt $attempt): trying again"
	attempt=$((attempt + 1))
	sleep "$((attempt < 10 ? attempt : 10))"
done
if [ -s "$fresh" ]; then
	mv -f "$fresh" "$agent"
fi
trap - EXIT INT TERM HUP
exec "$agent"
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use std::{io::Write, os::unix::fs::PermissionsExt, path::Path, process::Command};

    fn run(script: &str, directory: &Path, set: &[(&str, &str)]) -> (i32, String, String) {
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(script)
            .env_clear()
            .env("PATH", std::env::join_paths([directory, Path::new("/bin"), Path::new("/usr/bin")]).unwrap());
        let output = command.env("HOME", directory).envs(set.iter().copied()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
    }

    fn program(path: &Path, text: &str) {
        let mut file = std::fs::File::create(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file.set_permissions(std::fs::Permissions::from_mode(0o700)).unwrap();
    }

    fn directory(name: &str) -> std::path::PathBuf {
        let directory = std::env::temp_dir().join(format!("berth-init-script-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).unwrap();
        directory
    }

    #[test]
    fn an_agent_on_the_machine_is_started_at_once() {
        let home = directory("here");
        program(&home.join("agent"), "#!/bin/sh\necho \"agent $CODER_AGENT_URL $CODER_AGENT_AUTH $CODER_AGENT_TOKEN\"\n");
        let script = render("linux", "amd64", "http://127.0.0.1:3000").unwrap();
        let binary = home.join("agent");
        let set = [("BERTH_AGENT_BINARY", binary.to_str().unwrap()), ("CODER_AGENT_TOKEN", "t")];
        assert_eq!(run(&script, &home, &set), (0, "agent http://127.0.0.1:3000/ token t\n".into(), String::new()));
        std::fs::remove_dir_all(home).unwrap();
    }

    #[test]
    fn a_download_is_kept_and_serves_when_the_server_is_away() {
        let home = directory("download");
        // A curl of our own: writes the "agent", or fails when told to.
        let curl = "#!/bin/sh\n[ -z \"${AWAY:-}\" ] || exit 7\nwhile [ $# -gt 1 ]; do [ \"$1\" = -o ] && out=\"$2\"; shift; done\nprintf '#!/bin/sh\\necho ran %s\\n' \"$1\" > \"$out\"\n";
        program(&home.join("curl"), curl);
        let script = render("linux", "arm64", "https://berth.example.com/").unwrap();
        let ran = "ran https://berth.example.com/bin/berth-agent-linux-arm64\n";
        assert_eq!(run(&script, &home, &[]), (0, ran.into(), String::new()));
        let (status, out, error) = run(&script, &home, &[("AWAY", "1")]);
        assert_eq!((status, out.as_str()), (0, ran));
        assert!(error.contains("starting the agent of the last time"), "{error}");
        let kept: Vec<_> = std::fs::read_dir(home.join(".cache/berth")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(kept, ["berth-agent"]);
        std::fs::remove_dir_all(home).unwrap();
    }

    #[test]
    fn a_server_that_never_answers_is_named() {
        let home = directory("away");
        program(&home.join("curl"), "#!/bin/sh\nexit 7\n");
        let script = render("linux", "amd64", "https://berth.example.com").unwrap();
        let (status, _, error) = run(&script, &home, &[("BERTH_AGENT_ATTEMPTS", "1")]);
        assert_eq!(status, 1);
        assert!(
            error.contains("cannot download https://berth.example.com/bin/berth-agent-linux-amd64 after 1 attempts"),
            "{error}"
        );
        std::fs::remove_dir_all(home).unwrap();
    }

    #[test]
    fn unknown_platforms_and_urls_with_shell_words_have_no_script() {
        assert!(template("plan9", "amd64").is_none());
        assert!(template("linux", "amd64; rm -rf /").is_none());
        assert!(render("linux", "amd64", "https://a/$(id)").is_none());
        assert!(template("linux", "amd64").unwrap().contains("${ACCESS_URL}"));
    }
}
