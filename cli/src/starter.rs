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

/// A row of the table: a folder below `templates/` and the files in it.
macro_rules! starter {
    ($id:literal: $($file:literal),+) => {
        Starter { id: $id, files: &[$(($file, include_str!(concat!("../../templates/", $id, "/", $file)))),+] }
    };
}

/// All of them, the quickest to try first.
pub const STARTERS: &[Starter] = &[
    starter!("local": "README.md", "icon.svg", "main.tf"),
    starter!("docker": "README.md", "icon.svg", "main.tf"),
    starter!("kubernetes": "README.md", "icon.svg", "main.tf"),
    starter!("aws-linux": "README.md", "icon.svg", "main.tf", "start.yaml.tftpl", "stop.yaml"),
    starter!("aws-windows": "README.md", "icon.svg", "main.tf", "start.ps1.tftpl", "stop.ps1"),
    starter!("aws-mac": "README.md", "icon.svg", "main.tf", "start.sh.tftpl"),
    starter!("aws-fargate": "README.md", "icon.svg", "main.tf"),
    starter!("azure-linux": "README.md", "icon.svg", "main.tf", "start.sh.tftpl"),
    starter!("azure-windows": "README.md", "icon.svg", "main.tf", "start.ps1.tftpl"),
    starter!("gcp-linux": "README.md", "icon.svg", "main.tf", "start.sh.tftpl"),
];

impl Starter {
    /// What its README says about it.
    #[must_use]
    pub fn about(&self) -> About {
        let readme = self.files.iter().find(|(name, _)| *name == "README.md").map_or("", |(_, text)| text);
        About::of(readme)
    }

    /// The names of its files.
    pub fn files(&self) -> impl Iterator<Item = &'static str> {
        self.files.iter().map(|(name, _)| *name)
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
    /// Words to find it by.
    pub tags: Vec<String>,
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
                "tags" => about.tags = words(&value),
                _ => {}
            }
        }
        about
    }
}

/// The words of `[one, two]`.
fn words(list: &str) -> Vec<String> {
    let inside = list.trim_start_matches('[').trim_end_matches(']');
    inside.split(',').map(|word| word.trim().trim_matches(['"', '\'']).to_owned()).filter(|word| !word.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// The files of a directory, by name.
    fn content(directory: &Path) -> BTreeMap<String, String> {
        let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        entries.map(|path| (name(&path), fs::read_to_string(&path).unwrap())).collect()
    }

    #[test]
    fn every_folder_of_templates_is_embedded_whole() {
        let templates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../templates");
        let folders: Vec<_> = fs::read_dir(&templates).unwrap().map(|entry| entry.unwrap()).collect();
        for folder in &folders {
            let id = folder.file_name().into_string().unwrap();
            let starter = STARTERS.iter().find(|starter| starter.id == id);
            let starter = starter.unwrap_or_else(|| panic!("templates/{id} is not in the table: add it to STARTERS"));
            let embedded = starter.files.iter().map(|&(name, text)| (name.to_owned(), text.to_owned())).collect();
            assert_eq!(content(&folder.path()), embedded, "the files of templates/{id} are those of its row");
        }
        assert_eq!(folders.len(), STARTERS.len());
    }

    #[test]
    fn a_readme_tells_about_its_template() {
        let about = About::of(
            "---\ndisplay_name: \"A: b\"\ndescription: One line\nicon: /icon/x.svg\ntags: [a, 'b c']\n---\n# Title\ndescription: not this\n",
        );
        let tags = vec!["a".to_owned(), "b c".to_owned()];
        assert_eq!(about, About { display_name: "A: b".into(), description: "One line".into(), icon: "/icon/x.svg".into(), tags });
        assert_eq!(About::of("# Title"), About::default());
    }

    #[test]
    fn a_starter_is_written_once_and_can_be_packed() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("mine");
        STARTERS[0].write(&directory).unwrap();
        assert_eq!(crate::archive::pack(&directory).unwrap().files, 3);
        assert!(STARTERS[0].write(&directory).is_err());
    }
}
