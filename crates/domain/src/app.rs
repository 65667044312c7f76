//! Web apps of a workspace: the name that leads to one, and who may open it.

use crate::{Actor, AgentName, AppSharing, Denied, UserId, Username, WorkspaceName};
use std::{fmt, str::FromStr};

/// The longest slug of an app, in characters: a host's label has 63 for all its parts.
pub const SLUG_CHARS_MAX: usize = 32;
/// What stands between the parts of an address. No name has two hyphens in a row.
const SEPARATOR: &str = "--";
/// The most digits of a port.
const PORT_DIGITS_MAX: usize = 5;

/// Which app of an agent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AppName {
    /// One that the template has (`coder_app`), in lower case.
    Slug(String),
    /// Whatever listens on this port.
    Port(u16),
}

/// The address of a web app as the first label of its host: `slug--agent--workspace--owner`, or `slug--workspace--owner` where the workspace
/// has one agent; a port in place of the slug. Always in lower case, as browsers write hosts: one app has one text of each form.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AppAddress {
    /// Which app.
    pub app: AppName,
    /// Of which agent; none where there is only one.
    pub agent: Option<AgentName>,
    /// Of which workspace.
    pub workspace: WorkspaceName,
    /// Whose.
    pub owner: Username,
}

/// The text is no [`AppAddress`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the address of an app, which is slug--agent--workspace--owner or slug--workspace--owner")]
pub struct AppAddressError;

/// Proof that somebody may open an app. Only [`may_open_app`] makes one.
#[derive(Debug)]
pub struct MayOpenApp(());

/// An app is opened by the workspace's owner, and by those it is shared with. `viewer` is `None` for somebody who is not signed in. There is
/// one organization, so sharing with it is sharing with everyone who is signed in. No role opens what is not shared with it.
///
/// # Errors
/// When it is not shared with the viewer.
pub fn may_open_app(viewer: Option<&Actor>, owner: UserId, sharing: AppSharing) -> Result<MayOpenApp, Denied> {
    let permitted = match (sharing, viewer) {
        (AppSharing::Public, _) | (AppSharing::Authenticated | AppSharing::Organization, Some(_)) => true,
        (AppSharing::Owner, Some(actor)) => actor.may_enter_workspace(owner).is_ok(),
        (_, None) => false,
    };
    if permitted { Ok(MayOpenApp(())) } else { Err(Denied) }
}

impl AppName {
    /// # Errors
    /// When it is neither a port nor a slug: words of lower-case letters and digits with single hyphens between them.
    fn parse(text: &str) -> Result<Self, AppAddressError> {
        if text.bytes().all(|byte| byte.is_ascii_digit()) && text.len() <= PORT_DIGITS_MAX {
            let port = text.parse().ok().filter(|port| *port > 0 && !text.starts_with('0'));
            return port.map(Self::Port).ok_or(AppAddressError);
        }
        let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let is_word = |word: &str| !word.is_empty() && word.bytes().all(letter);
        if text.len() > SLUG_CHARS_MAX || !text.split('-').all(is_word) {
            return Err(AppAddressError);
        }
        Ok(Self::Slug(text.to_owned()))
    }
}

impl fmt::Display for AppName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slug(slug) => f.write_str(slug),
            Self::Port(port) => port.fmt(f),
        }
    }
}

impl AppAddress {
    /// Reads a host's first label, in whatever case.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(label: &str) -> Result<Self, AppAddressError> {
        let label = label.to_ascii_lowercase();
        let parts: Vec<_> = label.split(SEPARATOR).collect();
        let (app, agent, workspace, owner) = match *parts.as_slice() {
            [app, workspace, owner] => (app, None, workspace, owner),
            [app, agent, workspace, owner] => (app, Some(agent), workspace, owner),
            _ => return Err(AppAddressError),
        };
        Ok(Self {
            app: AppName::parse(app)?,
            agent: agent.map(AgentName::parse).transpose().map_err(|_| AppAddressError)?,
            workspace: WorkspaceName::parse(workspace).map_err(|_| AppAddressError)?,
            owner: Username::parse(owner).map_err(|_| AppAddressError)?,
        })
    }

    /// Whether both are apps of one workspace, which is one machine to whoever works in it.
    #[must_use]
    pub fn is_beside(&self, other: &Self) -> bool {
        self.workspace.key() == other.workspace.key() && self.owner.key() == other.owner.key()
    }
}

impl fmt::Display for AppAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{SEPARATOR}", self.app)?;
        if let Some(agent) = &self.agent {
            write!(f, "{}{SEPARATOR}", agent.key())?;
        }
        write!(f, "{}{SEPARATOR}{}", self.workspace.key(), self.owner.key())
    }
}

impl FromStr for AppAddress {
    type Err = AppAddressError;
    fn from_str(label: &str) -> Result<Self, AppAddressError> {
        Self::parse(label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Role;
    use proptest::{prelude::*, string::string_regex};
    use uuid::Uuid;

    const WORD: &str = "[a-z0-9]{1,4}(-[a-z0-9]{1,4}){0,2}";

    proptest! {
        #[test]
        fn an_address_survives_its_text_in_any_case(label in string_regex(&format!("{WORD}--({WORD}--)?w{WORD}--u{WORD}")).unwrap()) {
            if let Ok(address) = AppAddress::parse(&label) {
                prop_assert_eq!(address.to_string(), label.clone());
                prop_assert_eq!(AppAddress::parse(&label.to_uppercase()), Ok(address));
            } else {
                // The only words that are no names here: ports that are none.
                let app = label.split("--").next().unwrap_or_default();
                prop_assert!(app.bytes().all(|byte| byte.is_ascii_digit()), "{label}");
            }
        }

        #[test]
        fn what_is_no_address_is_refused_and_never_read_as_another(label in "[a-zA-Z0-9.%/@: -]{0,40}") {
            if let Ok(address) = AppAddress::parse(&label) {
                prop_assert_eq!(address.to_string(), label.to_lowercase());
            }
        }
    }

    #[test]
    fn a_port_is_a_number_and_nothing_like_one() {
        let app = |label: &str| AppAddress::parse(&format!("{label}--dev--ada")).map(|address| address.app);
        assert_eq!(app("8080"), Ok(AppName::Port(8080)));
        assert_eq!(app("1"), Ok(AppName::Port(1)));
        assert_eq!(app("8080s"), Ok(AppName::Slug("8080s".into())));
        for wrong in ["0", "08080", "65536", "99999", "+80", "80 ", ""] {
            assert!(app(wrong).is_err(), "{wrong}");
        }
    }

    fn actor(user: u128, roles: &[Role]) -> Actor {
        Actor { user: UserId(Uuid::from_u128(user)), username: Username::parse("x").unwrap(), roles: roles.to_vec() }
    }

    #[test]
    fn an_app_opens_for_its_owner_and_for_those_it_is_shared_with() {
        let (ada, bob, root) = (actor(1, &[]), actor(2, &[]), actor(3, &[Role::Owner]));
        let opens = |viewer: Option<&Actor>, sharing| may_open_app(viewer, ada.user, sharing).is_ok();
        let row = |sharing| [Some(&ada), Some(&bob), Some(&root), None].map(|viewer| opens(viewer, sharing));
        assert_eq!(row(AppSharing::Owner), [true, false, false, false]);
        assert_eq!(row(AppSharing::Authenticated), [true, true, true, false]);
        assert_eq!(row(AppSharing::Organization), [true, true, true, false]);
        assert_eq!(row(AppSharing::Public), [true; 4]);
    }
}
