//! The starter templates that come with `berth`.

use crate::{archive::make_empty, config::unwritable, failure::Outcome};
use std::{fs, path::Path};

/// A template to start from.
#[derive(Debug, Clone, Copy)]
pub struct Starter {
    /// The name to choose it by.
    pub id: &'static str,
    /// Its files: name and content.
    files: &'static [(&'static str, &'static str)],
}

/// All of them.
pub const STARTERS: &[Starter] = &[Starter {
    id: "local",
    files: &[
        ("main.tf", include_str!("../../templates/local/main.tf")),
        ("README.md", include_str!("../../templates/local/README.md")),
    ],
}];

impl Starter {
    /// One line about it, from its README.
    #[must_use]
    pub fn description(&self) -> String {
        let readme = self.files.iter().find(|(name, _)| *name == "README.md").map_or("", |(_, text)| text);
        About::of(readme).description
    }

    /// Writes it into a directory that must be new or empty.
    ///
    /// # Errors
    /// When the directory is not empty or cannot be written.
    pub fn write(&self, directory: &Path) -> Outcome {
        make_empty(directory)?;
        self.files
            .iter()
            .try_for_each(|(name, text)| fs::write(directory.join(name), text).map_err(|error| unwritable(directory, &error)))
    }
}

/// What a template's README says about it, between `---` lines at its beginning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    /// For people.
    pub display_name: String,
    /// One line.
    pub description: String,
    /// A picture.
    pub icon: String,
}

impl About {
    /// Reads the front matter; what is not there is empty.
    #[must_use]
    pub fn of(readme: &str) -> Self {
        let mut about = Self::default();
        let Some(front) = readme.strip_prefix("---\n").and_then(|rest| rest.split_once("\n---")).map(|(front, _)| front) else {
            return about;
        };
        for (key, value) in front.lines().filter_map(|line| line.split_once(':')) {
            let value = value.trim().trim_matches('"').to_owned();
            match key {
                "display_name" => about.display_name = value,
                "description" => about.description = value,
                "icon" => about.icon = value,
                _ => {}
            }
        }
        about
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_readme_tells_about_its_template() {
        let about = About::of(
            "---\ndisplay_name: \"A: b\"\ndescription: One line\nicon: /icon/x.svg\ntags: [a]\n---\n# Title\ndescription: not this\n",
        );
        assert_eq!(about, About { display_name: "A: b".into(), description: "One line".into(), icon: "/icon/x.svg".into() });
        assert_eq!(About::of("# Title"), About::default());
        assert!(STARTERS.iter().all(|starter| !starter.description().is_empty()));
    }

    #[test]
    fn a_starter_is_written_once_and_can_be_packed() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("mine");
        STARTERS[0].write(&directory).unwrap();
        assert_eq!(crate::archive::pack(&directory).unwrap().files, 2);
        assert!(STARTERS[0].write(&directory).is_err());
    }
}
