//! Finds the processes of a workspace by their marks, for those who have no state that names them.

use std::collections::BTreeMap;
use std::io;

use uuid::Uuid;

use super::platform::{self, Marks, Seen};
use super::{FINGERPRINT_MARK, Leader, MARK, WORKSPACE_MARK, default_log};
use crate::behaviour::{Context, Done};
use crate::diagnostic::Diagnostic;
use crate::existing::Existing;
use crate::value::{Object, Value};

/// How much of a command line is shown, in characters.
const COMMAND_CHARACTERS_MAX: usize = 120;

/// A process that some build started, with all that came from it.
#[derive(Debug, Default)]
struct Family {
    members: Vec<Seen>,
    fingerprint: Option<String>,
}

impl Family {
    /// The process that was started itself: it leads a group, and its parent is none of the family. Nothing when it has ended: its
    /// children may look the same then, and taking one of them for it would be a guess when there are several.
    fn leader(&self) -> Option<&Seen> {
        let is_member = |pid: i32| self.members.iter().any(|member| member.pid == pid);
        let mut leaders = self.members.iter().filter(|member| member.group == member.pid && !is_member(member.parent));
        leaders.next().filter(|_| leaders.next().is_none())
    }

    fn description(&self) -> String {
        let Some(leader) = self.leader() else {
            let pids: Vec<_> = self.members.iter().map(|member| member.pid.to_string()).collect();
            return format!("what an ended process left behind: {}", pids.join(", "));
        };
        let command: String = platform::command_line(leader.pid).chars().take(COMMAND_CHARACTERS_MAX).collect();
        format!("process {}: {command}", leader.pid)
    }
}

/// The processes of a workspace on this machine, whether or not a state knows them. Reads the process table once; blocking.
pub(crate) fn existing(workspace_id: &str) -> io::Result<Vec<Existing>> {
    let families = families(workspace_id)?.into_iter();
    Ok(families.map(|(id, family)| Existing { kind: "berth_process", id, what: family.description() }).collect())
}

/// Finds the process with this id in the workspace that is being built.
pub(crate) async fn import(context: Context, id: String) -> Done {
    let log = match default_log(&context.environment, &id) {
        Ok(log) => log,
        Err(diagnostic) => return Done::failed(diagnostic),
    };
    let workspace = context.environment.get("CODER_WORKSPACE_ID").unwrap_or_default().to_owned();
    let found = tokio::task::spawn_blocking(move || families(&workspace)).await.map_err(io::Error::other).flatten();
    let family = match found {
        Ok(mut families) => families.remove(&id),
        Err(why) => return Done::failed(Diagnostic::error("cannot read the process table", why.to_string())),
    };
    let Some(family) = family else {
        let detail = format!("no process of this workspace has the id \"{id}\"; remove the import block, and the build starts one");
        return Done::failed(Diagnostic::error("no such process", detail));
    };
    let leader = family.leader().and_then(|leader| Leader::observe(leader.pid).ok());
    let mut state = Object::from([("id".into(), Value::Text(id))]);
    if let Some(leader) = leader {
        state.insert("pid".into(), Value::whole(i64::from(leader.pid)));
        state.insert("start_time".into(), Value::Text(leader.start));
        state.insert("boot_id".into(), Value::Text(leader.boot));
    }
    state.insert("fingerprint".into(), family.fingerprint.map_or(Value::Null, Value::Text));
    state.insert("log_file".into(), if log.exists() { Value::text(log.to_string_lossy()) } else { Value::Null });
    Done::exists(state)
}

/// The families of a workspace by their ids.
fn families(workspace_id: &str) -> io::Result<BTreeMap<String, Family>> {
    let workspace = format!("{WORKSPACE_MARK}={workspace_id}");
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    for seen in platform::all()?.into_iter().filter(|seen| !seen.zombie) {
        let marks = platform::marks(seen.pid);
        let Some(id) = id_of(&marks).filter(|_| marks.contains(&workspace)) else { continue };
        let family = families.entry(id.to_owned()).or_default();
        family.fingerprint = family.fingerprint.take().or_else(|| marks.value(FINGERPRINT_MARK).map(str::to_owned));
        family.members.push(seen);
    }
    Ok(families)
}

/// The id that our own builds give: an environment says what its process likes.
fn id_of(marks: &Marks) -> Option<&str> {
    marks.value(MARK).filter(|id| Uuid::parse_str(id).is_ok())
}
