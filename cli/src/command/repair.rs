//! `berth repair`: what exists of a workspace and is not in its Terraform state.

use crate::{
    change,
    failure::{Failure, Outcome},
    name::WorkspaceRef,
    printer::{Format, FormatFlag, printable, table},
    prompt,
    session::{Session, find_workspace},
    signal,
    wait::{self, Detail, JobRef, LogView},
};
use berth_client::Client;
use berth_wire::{
    domain::{Adoption, JobStatus, Stray, StrayRef, Transition},
    repair::{CreateRepair, Repair},
    workspace::Workspace,
};
use clap::Args;
use comfy_table::Table;

/// Which workspace, and what to do with what is found.
#[derive(Debug, Args)]
#[command(
    after_help = "Without --import and --delete it only looks, and on a terminal asks for each of what it found. Nothing is \
                        ever deleted unasked."
)]
pub struct Arguments {
    /// [owner/]name
    #[arg(value_name = "NAME")]
    workspace: String,
    /// Start the workspace so that the template's resource at ADDRESS takes over the one with this ID
    #[arg(long, value_name = "ADDRESS=ID", value_parser = adoption)]
    import: Vec<Adoption>,
    /// Remove the resource with this ID, which must be among those that were found
    #[arg(long, value_name = "ID")]
    delete: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    format: FormatFlag,
}

/// What a person wants done.
#[derive(Debug, Default)]
struct Wanted {
    imports: Vec<Adoption>,
    delete: Vec<StrayRef>,
}

/// Looks, shows, and does what is wanted.
pub(super) async fn run(arguments: &Arguments, session: &Session) -> Outcome {
    let reference: WorkspaceRef = arguments.workspace.parse()?;
    let (client, typed) = (session.client()?, reference.typed());
    let workspace = find_workspace(&client, &reference).await?;
    let looked = repair(session, &client, (&workspace, &typed), CreateRepair::default()).await?;
    let found = &looked.found;
    let asked = !arguments.import.is_empty() || !arguments.delete.is_empty();
    if arguments.format.output == Format::Json && !asked {
        return session.printer.json(&looked);
    }
    if found.is_empty() && arguments.import.is_empty() {
        session.printer.say(format_args!("Nothing exists of {typed} that its state does not know."));
    } else if !found.is_empty() && arguments.format.output == Format::Table {
        session.printer.text(&crate::printer::render(&listed(found)))?;
    }
    let wanted = if asked { named(arguments, found, &typed)? } else { chosen(session, found, (&typed, arguments.yes))? };
    let done = act(session, &client, (&workspace, &typed), (wanted, arguments.yes)).await?;
    match arguments.format.output {
        Format::Json => session.printer.json(&done.unwrap_or(looked)),
        Format::Table => Ok(()),
    }
}

/// Runs a repair to its good end.
async fn repair(session: &Session, client: &Client, (workspace, typed): (&Workspace, &str), body: CreateRepair) -> Outcome<Repair> {
    let removes = !body.delete.is_empty();
    let repair = client.create_repair(workspace.id, &body).await.map_err(|error| match error.is_conflict() {
        true => Failure::new(error.to_string())
            .hint(format!("`berth logs {typed} -f` follows a build, `berth cancel {typed}` ends it; then try again")),
        false => error.into(),
    })?;
    let (detail, waiting) = match removes {
        true => (Detail::Lines, format!("Removing what is not in the state of {typed}")),
        false => (Detail::Stages, format!("Looking for what exists of {typed}")),
    };
    let mut view = LogView::new(session, detail, &waiting);
    let follow = wait::job(client, JobRef::Repair(repair.id), |line| view.show(line));
    let job = tokio::select! {
        biased;
        job = follow => job?,
        code = signal::ended() => {
            // Nobody would see what it finds: it ends too.
            let _ended = client.cancel_repair(repair.id).await;
            return Err(Failure::silent(code.unwrap_or(130)));
        }
    };
    drop(view);
    let done = client.repair(repair.id).await?;
    match job.status {
        JobStatus::Succeeded => Ok(done),
        JobStatus::Canceled => {
            Err(Failure::new(format!("the repair of {typed} was canceled")).hint(format!("`berth repair {typed}` looks again")))
        }
        _ => Err(Failure::new(format!("the repair of {typed} failed: {}", job.error.trim_end()))
            .hint(format!("`berth repair {typed} -v` shows its log; mend what it names and look again"))),
    }
}

fn listed(found: &[Stray]) -> Table {
    let mut table = table(["type", "id", "what", "could become"]);
    for stray in found {
        let addresses = match stray.is_manageable() {
            true => stray.addresses.join(", "),
            false => "(remove it by hand)".to_owned(),
        };
        let kind = if stray.is_manageable() { stray.kind.as_str() } else { "?" };
        let what = if stray.what == stray.id { String::new() } else { printable(&stray.what) };
        table.add_row([kind, &printable(&stray.id), &what, &addresses]);
    }
    table
}

/// What the flags say.
fn named(arguments: &Arguments, found: &[Stray], typed: &str) -> Outcome<Wanted> {
    let mut delete = Vec::new();
    for id in &arguments.delete {
        let mut same = found.iter().filter(|stray| stray.id == *id && stray.is_manageable());
        let Some(stray) = same.next() else {
            return Err(Failure::new(format!("nothing that exists of {typed} and is not in its state has the id {id:?}"))
                .hint(format!("`berth repair {typed}` lists what does; what has no type is removed by hand")));
        };
        delete.push(reference(stray));
    }
    if let Some(both) = arguments.import.iter().find(|one| arguments.delete.contains(&one.id)) {
        return Err(Failure::usage(format!("{} cannot be imported and deleted", both.id)));
    }
    Ok(Wanted { imports: arguments.import.clone(), delete })
}

/// What the person answers, for each of what was found.
fn chosen(session: &Session, found: &[Stray], (typed, yes): (&str, bool)) -> Outcome<Wanted> {
    let mut wanted = Wanted::default();
    let choices = found.iter().filter(|stray| stray.is_manageable());
    if !session.printer.is_interactive() || yes {
        if choices.count() > 0 {
            session.printer.hint(format_args!(
                "`berth repair {typed} --import ADDRESS=ID` takes one over at a start, `--delete ID` removes one"
            ));
        }
        return Ok(wanted);
    }
    for stray in choices {
        let free = stray.addresses.iter().filter(|address| !wanted.imports.iter().any(|taken| taken.to == **address));
        let free: Vec<&String> = free.collect();
        let mut answers = vec!["leave it".to_owned()];
        answers.extend(free.iter().map(|address| format!("import it as {address}, by a start")));
        answers.push("delete it".to_owned());
        let last = answers.len() - 1;
        let answer = prompt::select(&format!("{} {}", stray.kind, printable(&stray.id)), answers, 0)?;
        if answer == last {
            wanted.delete.push(reference(stray));
        } else if let Some(to) = answer.checked_sub(1).and_then(|index| free.get(index)) {
            wanted.imports.push(Adoption { to: (*to).clone(), id: stray.id.clone() });
        }
    }
    Ok(wanted)
}

fn reference(stray: &Stray) -> StrayRef {
    StrayRef { kind: stray.kind.clone(), id: stray.id.clone() }
}

/// Removes first, then starts the workspace with what is to be taken over. Answers the repair that removed.
async fn act(
    session: &Session,
    client: &Client,
    (workspace, typed): (&Workspace, &str),
    (wanted, yes): (Wanted, bool),
) -> Outcome<Option<Repair>> {
    let mut done = None;
    if !wanted.delete.is_empty() {
        let ids: Vec<_> = wanted.delete.iter().map(|one| format!("{} {}", one.kind, printable(&one.id))).collect();
        prompt::confirm(&session.printer, yes, &format!("Delete {} for good, with what is in it?", ids.join(", ")))?;
        done = Some(repair(session, client, (workspace, typed), CreateRepair { delete: wanted.delete }).await?);
        session.printer.say(format_args!("Deleted {}.", ids.join(", ")));
    }
    if !wanted.imports.is_empty() {
        let pairs: Vec<_> = wanted.imports.iter().map(|one| format!("{} as {}", printable(&one.id), one.to)).collect();
        prompt::confirm(&session.printer, yes, &format!("Start {typed} and take over {}?", pairs.join(", ")))?;
        let mut request = change::request(Transition::Start, None);
        request.imports = wanted.imports;
        change::build(session, client, (workspace, typed), &request).await?;
        session.printer.say(format_args!("{typed} is started and has taken over {}.", pairs.join(", ")));
    }
    Ok(done)
}

/// `ADDRESS=ID`. An address has `=` only between quotes.
fn adoption(text: &str) -> Result<Adoption, String> {
    let mut quoted = false;
    let split = text.char_indices().find(|(_, character)| {
        quoted ^= *character == '"';
        *character == '=' && !quoted
    });
    let wrong = || "write it like aws_instance.dev[0]=i-0123456789abcdef0".to_owned();
    let (at, _) = split.ok_or_else(wrong)?;
    let (to, id) = text.split_at_checked(at).ok_or_else(wrong)?;
    let adoption = Adoption { to: to.trim().to_owned(), id: id.trim_start_matches('=').trim().to_owned() };
    adoption.check().map(|()| adoption).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_import_is_an_address_and_an_id() {
        let pair = |text: &str| adoption(text).map(|one| (one.to, one.id));
        assert_eq!(pair("aws_instance.dev[0]=i-1"), Ok(("aws_instance.dev[0]".to_owned(), "i-1".to_owned())));
        assert_eq!(pair("a.b[\"x=y\"]=arn:x=1"), Ok(("a.b[\"x=y\"]".to_owned(), "arn:x=1".to_owned())));
        for text in ["", "aws_instance.dev", "=i-1", "aws_instance.dev=", "not an address=i"] {
            assert!(adoption(text).is_err(), "{text}");
        }
    }
}
