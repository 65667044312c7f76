//! The schema table: every data source, resource, attribute, block, default and rule, as data.
//!
//! A file under `schema/` holds the rows of one noun and, beside them, the few verbs that its rows cannot express.
//! Adding a noun is adding its file and naming it in [`schema`]. The engine (plan, validation, upgrade, encoding)
//! reads only this table.

mod agent;
mod app;
mod external_auth;
mod metadata;
mod parameter;
mod preset;
mod process;
mod provisioner;
mod script;
mod secret;
mod small;
mod tags;
mod task;
mod workspace;
mod workspace_owner;

use crate::behaviour::{Hooks, ReadData};
use crate::diagnostic::Diagnostic;
use crate::value::{Object, Value};

/// The prefixes of the resource and data source types that this provider serves.
pub const OUR_TYPE_PREFIXES: &[&str] = &["coder_", "berth_"];

/// A data source or a resource type.
#[derive(Debug)]
pub struct Noun {
    /// The type name in templates, such as `coder_agent`.
    pub name: &'static str,
    /// The version of its schema in a state file.
    pub version: i64,
    /// One sentence for its documentation.
    pub doc: &'static str,
    /// Its attributes and blocks.
    pub block: Block,
    /// Data source or resource, with what it does.
    pub kind: Kind,
}

/// Whether a noun is read or managed.
#[derive(Debug)]
pub enum Kind {
    /// A data source.
    Data(ReadVerb),
    /// A resource.
    Resource(ResourceVerbs),
}

/// What reading a data source does.
#[derive(Debug)]
pub struct ReadVerb(pub(crate) ReadData);

/// What planning, creating, reading, updating and deleting a resource do.
#[derive(Debug)]
pub struct ResourceVerbs(pub(crate) Hooks);

/// The attributes and nested blocks of a noun or of a nested block.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    /// The attributes, in the order of the documentation.
    pub attributes: &'static [Attribute],
    /// The nested blocks.
    pub blocks: &'static [Nested],
}

/// One attribute.
#[derive(Clone, Copy, Debug)]
pub struct Attribute {
    /// Its name in templates.
    pub name: &'static str,
    /// The type of its value.
    pub kind: Type,
    /// Who sets it.
    pub presence: Presence,
    /// The value of an optional attribute that the template leaves out.
    pub default: Option<Default>,
    /// True when Terraform must not show it.
    pub sensitive: bool,
    /// True when templates should stop using it.
    pub deprecated: bool,
    /// True when a change of it replaces the resource.
    pub force_new: bool,
    /// What its value must satisfy.
    pub(crate) rules: &'static [Rule],
    /// One sentence for its documentation.
    pub doc: &'static str,
}

/// The type of an attribute. Every number in the table is whole.
#[derive(Clone, Copy, Debug)]
pub enum Type {
    /// A string.
    Text,
    /// A bool.
    Bool,
    /// A whole number.
    Number,
    /// A list of strings.
    TextList,
    /// A map of strings.
    TextMap,
    /// Objects that are an attribute (not a block), in a list or a set.
    Objects(Nesting, &'static [Attribute]),
}

/// Who sets an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// The template must.
    Required,
    /// The template may.
    Optional,
    /// Only the provider does.
    Computed,
    /// The template may, otherwise the provider does.
    OptionalComputed,
}

/// The value of an optional attribute that the template leaves out.
#[derive(Clone, Copy, Debug)]
pub enum Default {
    /// A string.
    Text(&'static str),
    /// A bool.
    Bool(bool),
    /// A whole number.
    Number(i64),
    /// One object with the defaults of its own attributes; also stands in for an empty collection.
    OneObject,
}

/// A nested block.
#[derive(Clone, Copy, Debug)]
pub struct Nested {
    /// Its name in templates.
    pub name: &'static str,
    /// List (order counts) or set.
    pub nesting: Nesting,
    /// The least number of blocks.
    pub min: u32,
    /// The greatest number of blocks; 0 is no limit.
    pub max: u32,
    /// What the block holds.
    pub block: Block,
    /// Attributes and blocks beside it that must not be set with it.
    pub conflicts: &'static [&'static str],
    /// True when templates should stop using it.
    pub deprecated: bool,
}

/// How several objects or blocks of one name are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nesting {
    /// In order.
    List,
    /// Without order.
    Set,
}

/// What a known value must satisfy.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rule {
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// A text or list that is not empty.
    NotEmpty,
    /// A text of at most so many bytes.
    LengthAtMost(usize),
    /// A number of at least.
    AtLeast(i64),
    /// A number between, both included.
    Between(i64, i64),
    /// A text that matches a regular expression, and what to call such a text.
    Matches(&'static str, &'static str),
    /// A URL or a path of one.
    Url,
    /// A UUID.
    Uuid,
    /// An absolute path.
    AbsolutePath,
    /// Not together with any of these attributes or blocks.
    ConflictsWith(&'static [&'static str]),
    /// At most so many objects.
    ObjectsAtMost(usize),
    /// Anything else; the diagnostics get the attribute's path.
    Check(fn(&Value) -> Option<Problem>),
}

/// What a [`Rule::Check`] found: an error, or a warning, in one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// The value cannot be used.
    Error(String),
    /// The value can be used, with this remark.
    Warning(String),
}

/// The whole table: every data source and resource type that is served.
pub fn schema() -> &'static [&'static Noun] {
    TABLE
}

static TABLE: &[&Noun] = &[
    &workspace::WORKSPACE,
    &workspace_owner::WORKSPACE_OWNER,
    &provisioner::PROVISIONER,
    &parameter::PARAMETER,
    &preset::WORKSPACE_PRESET,
    &tags::WORKSPACE_TAGS,
    &external_auth::EXTERNAL_AUTH,
    &secret::SECRET,
    &task::TASK,
    &agent::AGENT,
    &agent::AGENT_INSTANCE,
    &app::APP,
    &script::SCRIPT,
    &small::ENV,
    &metadata::METADATA,
    &small::DEVCONTAINER,
    &small::EXTERNAL_AGENT,
    &task::AI_TASK,
    &process::PROCESS,
    &process::DIRECTORY,
];

/// The attributes of the `provider` block.
pub const PROVIDER: Block = Block {
    attributes: &[Attribute::optional("url", Type::Text)
        .rules(&[Rule::Url])
        .doc("The URL of the deployment; builds set it, templates seldom do.")],
    blocks: &[],
};

/// The `id` that every type has.
pub(crate) const ID: Attribute = Attribute::computed("id", Type::Text).doc("The id, given when it is created or read.");

impl Noun {
    /// True when it is a data source.
    pub fn is_data(&self) -> bool {
        matches!(self.kind, Kind::Data(_))
    }

    pub(crate) const fn data(name: &'static str, block: Block, read: ReadData) -> Self {
        Self { name, version: 1, doc: "", block, kind: Kind::Data(ReadVerb(read)) }
    }

    pub(crate) const fn resource(name: &'static str, block: Block, hooks: Hooks) -> Self {
        Self { name, version: 1, doc: "", block, kind: Kind::Resource(ResourceVerbs(hooks)) }
    }

    pub(crate) const fn version(mut self, version: i64) -> Self {
        self.version = version;
        self
    }

    pub(crate) const fn doc(mut self, doc: &'static str) -> Self {
        self.doc = doc;
        self
    }
}

impl Attribute {
    const fn new(name: &'static str, kind: Type, presence: Presence) -> Self {
        Self { name, kind, presence, default: None, sensitive: false, deprecated: false, force_new: true, rules: &[], doc: "" }
    }

    pub(crate) const fn required(name: &'static str, kind: Type) -> Self {
        Self::new(name, kind, Presence::Required)
    }

    pub(crate) const fn optional(name: &'static str, kind: Type) -> Self {
        Self::new(name, kind, Presence::Optional)
    }

    pub(crate) const fn computed(name: &'static str, kind: Type) -> Self {
        Self::new(name, kind, Presence::Computed)
    }

    pub(crate) const fn optional_computed(name: &'static str, kind: Type) -> Self {
        Self::new(name, kind, Presence::OptionalComputed)
    }

    pub(crate) const fn or(mut self, default: Default) -> Self {
        self.default = Some(default);
        self
    }

    pub(crate) const fn or_false(self) -> Self {
        self.or(Default::Bool(false))
    }

    pub(crate) const fn rules(mut self, rules: &'static [Rule]) -> Self {
        self.rules = rules;
        self
    }

    pub(crate) const fn sensitive(mut self) -> Self {
        self.sensitive = true;
        self
    }

    pub(crate) const fn deprecated(mut self) -> Self {
        self.deprecated = true;
        self
    }

    pub(crate) const fn updates_in_place(mut self) -> Self {
        self.force_new = false;
        self
    }

    pub(crate) const fn doc(mut self, doc: &'static str) -> Self {
        self.doc = doc;
        self
    }

    /// True when the provider may set it.
    pub fn is_computed(&self) -> bool {
        matches!(self.presence, Presence::Computed | Presence::OptionalComputed)
    }
}

impl Block {
    pub(crate) const fn of(attributes: &'static [Attribute]) -> Self {
        Self { attributes, blocks: &[] }
    }

    pub(crate) const fn with(attributes: &'static [Attribute], blocks: &'static [Nested]) -> Self {
        Self { attributes, blocks }
    }
}

impl Nested {
    pub(crate) const fn list(name: &'static str, block: Block) -> Self {
        Self { name, nesting: Nesting::List, min: 0, max: 0, block, conflicts: &[], deprecated: false }
    }

    pub(crate) const fn set(name: &'static str, block: Block) -> Self {
        Self { nesting: Nesting::Set, ..Self::list(name, block) }
    }

    pub(crate) const fn min(mut self, min: u32) -> Self {
        self.min = min;
        self
    }

    pub(crate) const fn max(mut self, max: u32) -> Self {
        self.max = max;
        self
    }

    pub(crate) const fn deprecated(mut self) -> Self {
        self.deprecated = true;
        self
    }

    pub(crate) const fn conflicts(mut self, names: &'static [&'static str]) -> Self {
        self.conflicts = names;
        self
    }
}

/// An error for the first text that stands twice under `key` in the blocks named `blocks`.
pub(crate) fn duplicate(object: &Object, blocks: &'static str, key: &str) -> Option<Diagnostic> {
    let mut seen = std::collections::BTreeSet::new();
    let elements = crate::value::at(object, blocks).elements();
    let keys = elements.iter().filter_map(Value::as_object).filter_map(|element| crate::value::at(element, key).as_text());
    keys.into_iter().find(|text| !seen.insert(*text)).map(|text| {
        Diagnostic::error(
            format!("duplicate {blocks} {key}"),
            format!("the {key} \"{text}\" is used by more than one {blocks} block"),
        )
        .about(blocks)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names_are_unique_and_defaults_are_optional(block: &Block, path: &str) {
        let mut seen = std::collections::BTreeSet::new();
        for attribute in block.attributes {
            let path = format!("{path}.{}", attribute.name);
            assert!(seen.insert(attribute.name), "{path} stands twice");
            assert!(!attribute.doc.is_empty(), "{path} has no documentation");
            if attribute.default.is_some() {
                assert!(matches!(attribute.presence, Presence::Optional | Presence::OptionalComputed), "{path} has a default");
            }
            for rule in attribute.rules {
                if let Rule::Matches(pattern, _) = rule {
                    assert!(regex::Regex::new(pattern).is_ok(), "{path}: {pattern}");
                }
            }
        }
        for nested in block.blocks {
            assert!(seen.insert(nested.name), "{path}.{} stands twice", nested.name);
            names_are_unique_and_defaults_are_optional(&nested.block, &format!("{path}.{}", nested.name));
        }
    }

    #[test]
    fn every_row_is_well_formed() {
        for noun in schema() {
            assert!(OUR_TYPE_PREFIXES.iter().any(|prefix| noun.name.starts_with(prefix)), "{}", noun.name);
            assert!(!noun.doc.is_empty(), "{} has no documentation", noun.name);
            assert!(noun.block.attributes.iter().any(|attribute| attribute.name == "id"), "{} has no id", noun.name);
            names_are_unique_and_defaults_are_optional(&noun.block, noun.name);
        }
    }
}
