//! One conditional write as a value: which row, on what condition, and what becomes of it.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    TableError,
    table::{Item, Key, RACES_MAX, Table, WriteError, encode, number, pause, text},
};

/// A conditional write.
#[derive(Debug, Clone)]
pub(crate) struct Write {
    pub(crate) key: Key,
    guard: Guard,
    change: Change,
}

/// What must be true of the row.
#[derive(Debug, Clone)]
pub(crate) enum Guard {
    /// There is none.
    Absent,
    /// It is as it was read.
    Version(u64),
    /// It is as it was read, and nothing counts on it.
    Unused(u64),
    /// It is in the index: there and not deleted.
    Listed,
    /// There is none, or its body is this text already.
    AbsentOrBody(String),
    /// Its log has this many lines.
    Lines(u64),
    /// Anything.
    Nothing,
}

#[derive(Debug, Clone)]
enum Change {
    Set(Box<Set>),
    Delete,
    Check,
    Count(i64),
    Tally { lines: u64, bytes: u64 },
}

#[derive(Debug, Clone)]
struct Set {
    body: Body,
    version: u64,
    index: Option<(String, String)>,
    ttl: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Body {
    Here(String),
    Blob(String),
}

/// A write in DynamoDB's words; no update means to delete.
#[derive(Debug, Default)]
pub(crate) struct Expression {
    pub(crate) update: Option<String>,
    pub(crate) condition: Option<String>,
    pub(crate) names: Option<HashMap<String, String>>,
    pub(crate) values: Option<Item>,
}

impl Write {
    fn set(key: Key, guard: Guard, version: u64, body: String) -> Self {
        let set = Set { body: Body::Here(body), version, index: None, ttl: None };
        Self { key, guard, change: Change::Set(Box::new(set)) }
    }

    /// A new row.
    pub(crate) fn insert(key: Key, value: &impl Serialize) -> Result<Self, TableError> {
        Ok(Self::set(key, Guard::Absent, 1, encode(value)?))
    }

    /// A row, whatever was there.
    pub(crate) fn put(key: Key, value: &impl Serialize) -> Result<Self, TableError> {
        Ok(Self::set(key, Guard::Nothing, 1, encode(value)?))
    }

    /// Another value for the row that was read at `version`. Leaves the index unless [`Self::listed`] follows.
    pub(crate) fn replace(key: Key, version: u64, value: &impl Serialize) -> Result<Self, TableError> {
        Ok(Self::set(key, Guard::Version(version), version + 1, encode(value)?))
    }

    /// Takes a row away.
    pub(crate) const fn delete(key: Key) -> Self {
        Self { key, guard: Guard::Nothing, change: Change::Delete }
    }

    /// Changes nothing, only demands.
    pub(crate) const fn check(key: Key, guard: Guard) -> Self {
        Self { key, guard, change: Change::Check }
    }

    /// Adds to what counts on the row.
    pub(crate) const fn count(key: Key, by: i64) -> Self {
        Self { key, guard: Guard::Listed, change: Change::Count(by) }
    }

    /// Sets the size of the row's log, from `from` lines.
    pub(crate) const fn tally(key: Key, from: u64, lines: u64, bytes: u64) -> Self {
        Self { key, guard: Guard::Lines(from), change: Change::Tally { lines, bytes } }
    }

    /// On another condition.
    pub(crate) fn only_if(self, guard: Guard) -> Self {
        Self { guard, ..self }
    }

    /// At this place of the index.
    pub(crate) fn listed(mut self, partition: impl Into<String>, sort: impl Into<String>) -> Self {
        if let Change::Set(set) = &mut self.change {
            set.index = Some((partition.into(), sort.into()));
        }
        self
    }

    /// Until this second.
    pub(crate) fn until(mut self, second: i64) -> Self {
        if let Change::Set(set) = &mut self.change {
            set.ttl = Some(second);
        }
        self
    }

    pub(crate) const fn is_check(&self) -> bool {
        matches!(self.change, Change::Check)
    }

    /// Replaces a body longer than `limit` by the key of a blob, and hands the body out to be put there.
    pub(crate) fn outsource(&mut self, limit: usize, blob: &str) -> Option<String> {
        match &mut self.change {
            Change::Set(set) if matches!(&set.body, Body::Here(body) if body.len() > limit) => {
                match std::mem::replace(&mut set.body, Body::Blob(blob.to_owned())) {
                    Body::Here(body) => Some(body),
                    Body::Blob(_) => None,
                }
            }
            _ => None,
        }
    }

    /// Whether the row already is what this write would make of it.
    pub(crate) fn stands_in(&self, item: &Item) -> bool {
        let is = |name: &str, value: &str| item.get(name).is_some_and(|there| *there == text(value) || *there == number(value));
        match &self.change {
            Change::Set(set) => {
                let body = match &set.body {
                    Body::Here(body) => is("body", body),
                    Body::Blob(key) => is("blob", key),
                };
                body && is("v", &set.version.to_string())
            }
            _ => false,
        }
    }

    /// The write in DynamoDB's words.
    pub(crate) fn expression(&self) -> Expression {
        let mut words = Words::default();
        let condition = words.condition(&self.guard);
        let update = words.update(&self.change);
        let Words { names, values } = words;
        Expression {
            update,
            condition,
            names: (!names.is_empty()).then_some(names),
            values: (!values.is_empty()).then_some(values),
        }
    }
}

#[derive(Default)]
struct Words {
    names: HashMap<String, String>,
    values: Item,
}

impl Words {
    /// A placeholder for an attribute's name: many names are reserved words.
    fn name(&mut self, name: &str) -> String {
        let placeholder = format!("#{name}");
        self.names.insert(placeholder.clone(), name.to_owned());
        placeholder
    }

    fn value(&mut self, placeholder: &str, value: AttributeValue) -> String {
        let placeholder = format!(":{placeholder}");
        self.values.insert(placeholder.clone(), value);
        placeholder
    }

    fn equals(&mut self, name: &str, value: AttributeValue) -> String {
        format!("{} = {}", self.name(name), self.value(&format!("if_{name}"), value))
    }

    fn condition(&mut self, guard: &Guard) -> Option<String> {
        Some(match guard {
            Guard::Nothing => return None,
            Guard::Absent => "attribute_not_exists(pk)".to_owned(),
            Guard::Listed => "attribute_exists(gsi1pk)".to_owned(),
            Guard::Version(version) => self.equals("v", number(version)),
            Guard::Unused(version) => {
                let unused = self.equals("uses", number(0));
                format!("{} AND (attribute_not_exists({}) OR {unused})", self.equals("v", number(version)), self.name("uses"))
            }
            Guard::AbsentOrBody(body) => format!("attribute_not_exists(pk) OR {}", self.equals("body", text(body))),
            Guard::Lines(0) => format!("attribute_exists(pk) AND attribute_not_exists({})", self.name("lines")),
            Guard::Lines(lines) => self.equals("lines", number(lines)),
        })
    }

    fn update(&mut self, change: &Change) -> Option<String> {
        match change {
            Change::Delete | Change::Check => None,
            Change::Count(by) => Some(format!("ADD {} {}", self.name("uses"), self.value("by", number(by)))),
            Change::Tally { lines, bytes } => {
                Some(format!("SET {}", self.assign([("lines", number(lines)), ("bytes", number(bytes))])))
            }
            Change::Set(set) => Some(self.whole(set)),
        }
    }

    fn assign<const N: usize>(&mut self, pairs: [(&str, AttributeValue); N]) -> String {
        pairs.map(|(name, value)| format!("{} = {}", self.name(name), self.value(name, value))).join(", ")
    }

    fn whole(&mut self, set: &Set) -> String {
        let (mut sets, mut removes) = match &set.body {
            Body::Here(body) => (self.assign([("body", text(body))]), vec![self.name("blob")]),
            Body::Blob(key) => (self.assign([("blob", text(key))]), vec![self.name("body")]),
        };
        let mut and = |more: String| sets = format!("{sets}, {more}");
        and(self.assign([("v", number(set.version))]));
        match &set.index {
            Some((partition, sort)) => and(self.assign([("gsi1pk", text(partition)), ("gsi1sk", text(sort))])),
            None => removes.extend(["gsi1pk", "gsi1sk"].map(|name| self.name(name))),
        }
        match set.ttl {
            Some(ttl) => and(self.assign([("ttl", number(ttl))])),
            None => removes.push(self.name("ttl")),
        }
        format!("SET {sets} REMOVE {}", removes.join(", "))
    }
}

impl Table {
    /// Reads a row, changes its value and writes it back, again and again until nobody else does at the same time. `None` when
    /// there is no row. A read and a write; no write when the change changes nothing.
    pub(crate) async fn amend<T: Serialize + DeserializeOwned>(
        &self,
        key: Key,
        place: impl Fn(&T) -> Option<(String, String)>,
        change: impl Fn(&mut T),
    ) -> Result<Option<T>, TableError> {
        for attempt in 0..RACES_MAX {
            let Some(mut row) = self.get::<T>(&key).await? else { return Ok(None) };
            let before = encode(&row.value)?;
            change(&mut row.value);
            if encode(&row.value)? == before {
                return Ok(Some(row.value));
            }
            let mut write = Write::replace(key.clone(), row.version, &row.value)?;
            if let Some((partition, sort)) = place(&row.value) {
                write = write.listed(partition, sort);
            }
            match self.write(write).await {
                Ok(()) => return Ok(Some(row.value)),
                Err(WriteError::Refused { .. }) => pause(attempt).await,
                Err(WriteError::Table(error)) => return Err(error),
            }
        }
        Err(TableError::Contention(key.to_string()))
    }
}
