//! The workspace query language: `owner:me name:dev status:running template:linux free words`.

use crate::WorkspaceStatus;

/// Why a query is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SearchError {
    /// A key that does not exist.
    #[error("{0:?} is not a search key; use owner, name, template, status, outdated, dormant or shared")]
    Key(String),
    /// A key without a value, or given twice.
    #[error("{0:?} needs exactly one value")]
    Value(String),
    /// A status that does not exist.
    #[error("{0}")]
    Status(String),
    /// A question of yes or no that is answered otherwise.
    #[error("{0:?} needs true or false")]
    Truth(String),
    /// A quote that is not closed.
    #[error("a quote is not closed")]
    Quote,
}

/// A parsed query. Every given part must match; comparisons do not regard case.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WorkspaceSearch {
    /// Exact owner name; `me` is the asker.
    pub owner: Option<String>,
    /// Part of the workspace's name. Free words are read as this too.
    pub name: Option<String>,
    /// Exact template name.
    pub template: Option<String>,
    /// Exact status.
    pub status: Option<WorkspaceStatus>,
    /// Whether the template's active version is another one.
    pub outdated: Option<bool>,
    /// Wanted of what no workspace is yet, dormant or shared: nothing matches.
    pub nothing: bool,
}

impl WorkspaceSearch {
    /// Reads a query: terms divided by spaces, `key:value` or `key:"two words"`, a bare `owner/name`, or a bare word.
    ///
    /// # Errors
    /// When a key is unknown or doubled, a value is missing, or a quote is open.
    pub fn parse(query: &str) -> Result<Self, SearchError> {
        let mut search = Self::default();
        for term in split(query)? {
            match term.split_once(':') {
                Some((key, value)) => search.set(&key.to_ascii_lowercase(), value)?,
                None => search.bare(&term)?,
            }
        }
        Ok(search)
    }

    fn bare(&mut self, term: &str) -> Result<(), SearchError> {
        match term.split_once('/') {
            Some((owner, name)) => {
                self.set("owner", owner)?;
                self.set("name", name)
            }
            None => self.set("name", term),
        }
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), SearchError> {
        if value.is_empty() {
            return Err(SearchError::Value(key.to_owned()));
        }
        let slot = match key {
            "owner" => &mut self.owner,
            "name" => &mut self.name,
            "template" => &mut self.template,
            "status" => {
                let status = value.to_ascii_lowercase().parse().map_err(SearchError::Status)?;
                return match self.status.replace(status) {
                    Some(_) => Err(SearchError::Value(key.to_owned())),
                    None => Ok(()),
                };
            }
            "outdated" => {
                self.outdated = Some(truth(key, value)?);
                return Ok(());
            }
            "dormant" | "shared" => {
                self.nothing |= truth(key, value)?;
                return Ok(());
            }
            "shared_with_user" | "shared_with_group" => {
                self.nothing = true;
                return Ok(());
            }
            _ => return Err(SearchError::Key(key.to_owned())),
        };
        match slot.replace(value.to_ascii_lowercase()) {
            Some(_) => Err(SearchError::Value(key.to_owned())),
            None => Ok(()),
        }
    }

    /// Whether a workspace with these words is wanted. `me` is the asker's name.
    #[must_use]
    pub fn matches(&self, me: &str, workspace: &Searched<'_>) -> bool {
        let owner = self.owner.as_deref().map(|owner| if owner == "me" { me } else { owner });
        !self.nothing
            && owner.is_none_or(|owner| owner.eq_ignore_ascii_case(workspace.owner))
            && self.outdated.is_none_or(|outdated| outdated == workspace.outdated)
            && self.name.as_deref().is_none_or(|name| workspace.name.to_ascii_lowercase().contains(name))
            && self.template.as_deref().is_none_or(|template| template.eq_ignore_ascii_case(workspace.template))
            && self.status.is_none_or(|status| status == workspace.status)
    }
}

/// The words of a workspace that a query looks at.
#[derive(Debug, Clone, Copy)]
pub struct Searched<'a> {
    /// Its owner's name.
    pub owner: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its template's name.
    pub template: &'a str,
    /// Its status.
    pub status: WorkspaceStatus,
    /// Whether the template's active version is another one.
    pub outdated: bool,
}

fn truth(key: &str, value: &str) -> Result<bool, SearchError> {
    value.to_ascii_lowercase().parse().map_err(|_| SearchError::Truth(key.to_owned()))
}

fn split(query: &str) -> Result<Vec<String>, SearchError> {
    let (mut terms, mut term, mut quoted) = (Vec::new(), String::new(), false);
    for character in query.chars() {
        match character {
            '"' => quoted = !quoted,
            space if space.is_whitespace() && !quoted => {
                if !term.is_empty() {
                    terms.push(std::mem::take(&mut term));
                }
            }
            other => term.push(other),
        }
    }
    if quoted {
        return Err(SearchError::Quote);
    }
    if !term.is_empty() {
        terms.push(term);
    }
    Ok(terms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_query_is_read_as_people_type_it() {
        let search = WorkspaceSearch::parse("owner:me status:Running template:\"linux\" dev").unwrap();
        let dev = Searched { owner: "ada", name: "my-dev", template: "Linux", status: WorkspaceStatus::Running, outdated: false };
        assert!(search.matches("ada", &dev));
        assert!(!search.matches("bob", &dev));
        assert_eq!(WorkspaceSearch::parse("ada/dev").unwrap().owner.as_deref(), Some("ada"));
        assert_eq!(
            WorkspaceSearch::parse("colour:red").unwrap_err().to_string(),
            "\"colour\" is not a search key; use owner, name, template, status, outdated, dormant or shared"
        );
        assert!(WorkspaceSearch::parse("owner:a owner:b").is_err());
        assert_eq!(WorkspaceSearch::parse("name:\"open"), Err(SearchError::Quote));
    }

    #[test]
    fn the_filters_of_ide_plugins_are_understood() {
        let dev = |outdated| Searched { owner: "ada", name: "dev", template: "linux", status: WorkspaceStatus::Running, outdated };
        let finds = |query: &str, outdated| WorkspaceSearch::parse(query).unwrap().matches("ada", &dev(outdated));
        assert!(finds("outdated:true", true) && !finds("outdated:true", false) && finds("outdated:false", false));
        for nothing in ["dormant:true", "shared:true", "shared_with_user:0190b6f0-0000-7000-8000-000000000000"] {
            assert!(!finds(nothing, false), "{nothing}");
        }
        assert!(finds("owner:me dormant:false shared:false", false));
        assert_eq!(WorkspaceSearch::parse("outdated:maybe"), Err(SearchError::Truth("outdated".into())));
    }

    proptest! {
        #[test]
        fn any_text_is_answered_without_a_panic(text in ".{0,80}") {
            let _ = WorkspaceSearch::parse(&text);
        }
    }
}
