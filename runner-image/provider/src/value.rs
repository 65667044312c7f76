//! Terraform values, decoded from and encoded to the msgpack of the wire without knowing their type.
//!
//! Lists, sets and tuples are [`Value::List`]; maps and objects are [`Value::Map`]. Every msgpack extension is
//! [`Value::Unknown`]: the protocol uses one for plain and another for refined unknown values.

use std::collections::BTreeMap;

/// The attributes and blocks of one resource, data source or nested block, by name.
pub(crate) type Object = BTreeMap<String, Value>;

/// One Terraform value.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Value {
    #[default]
    Null,
    Unknown,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Value>),
    Map(Object),
}

/// A number; Terraform sends those that no machine type can hold as text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Number {
    Whole(i64),
    Fraction(f64),
    Text(String),
}

/// Why bytes are not a Terraform value.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("value is not msgpack")]
    Msgpack(#[from] rmpv::decode::Error),
    #[error("value is not json")]
    Json(#[from] serde_json::Error),
}

/// The null that stands for an absent attribute.
static NULL: Value = Value::Null;

impl Value {
    /// Decodes the msgpack of one value.
    pub(crate) fn from_msgpack(mut bytes: &[u8]) -> Result<Self, DecodeError> {
        Ok(Self::from(rmpv::decode::read_value(&mut bytes)?))
    }

    /// Decodes the JSON of one value, as the protocol allows it instead of msgpack.
    pub(crate) fn from_json(bytes: &[u8]) -> Result<Self, DecodeError> {
        Ok(Self::from(serde_json::from_slice::<serde_json::Value>(bytes)?))
    }

    /// Encodes the value as msgpack.
    pub(crate) fn to_msgpack(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // Writing to a Vec cannot fail.
        let _ = rmpv::encode::write_value(&mut bytes, &self.to_rmpv());
        bytes
    }

    /// A text value.
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// A whole number.
    pub(crate) fn whole(number: i64) -> Self {
        Self::Number(Number::Whole(number))
    }

    /// The text, when it is one.
    pub(crate) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The whole number, when it is one.
    pub(crate) fn as_whole(&self) -> Option<i64> {
        match self {
            Self::Number(Number::Whole(number)) => Some(*number),
            _ => None,
        }
    }

    /// The truth value, when it is one.
    pub(crate) fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(truth) => Some(*truth),
            _ => None,
        }
    }

    /// The elements of a list or set; none of anything else.
    pub(crate) fn elements(&self) -> &[Self] {
        match self {
            Self::List(elements) => elements,
            _ => &[],
        }
    }

    /// The object, when it is one.
    pub(crate) fn as_object(&self) -> Option<&Object> {
        match self {
            Self::Map(object) => Some(object),
            _ => None,
        }
    }

    /// True when the value is neither null nor unknown.
    pub(crate) fn is_known(&self) -> bool {
        !matches!(self, Self::Null | Self::Unknown)
    }

    /// True when the value is unknown or holds something that is.
    pub(crate) fn has_unknown(&self) -> bool {
        match self {
            Self::Unknown => true,
            Self::List(elements) => elements.iter().any(Self::has_unknown),
            Self::Map(entries) => entries.values().any(Self::has_unknown),
            _ => false,
        }
    }

    /// True for null and for what counts as unset in a plan: the empty text, zero, false and empty collections.
    pub(crate) fn is_zero(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Unknown => false,
            Self::Bool(truth) => !truth,
            Self::Number(number) => *number == Number::Whole(0),
            Self::Text(text) => text.is_empty(),
            Self::List(elements) => elements.is_empty(),
            Self::Map(entries) => entries.is_empty(),
        }
    }

    fn to_rmpv(&self) -> rmpv::Value {
        match self {
            Self::Null => rmpv::Value::Nil,
            Self::Unknown => rmpv::Value::Ext(0, vec![0]),
            Self::Bool(truth) => rmpv::Value::Boolean(*truth),
            Self::Number(Number::Whole(number)) => rmpv::Value::from(*number),
            Self::Number(Number::Fraction(number)) => rmpv::Value::F64(*number),
            Self::Number(Number::Text(text)) | Self::Text(text) => rmpv::Value::from(text.as_str()),
            Self::List(elements) => rmpv::Value::Array(elements.iter().map(Self::to_rmpv).collect()),
            Self::Map(entries) => {
                let pairs = entries.iter().map(|(key, value)| (rmpv::Value::from(key.as_str()), value.to_rmpv()));
                rmpv::Value::Map(pairs.collect())
            }
        }
    }
}

impl Number {
    fn from_float(number: f64) -> Self {
        // Beyond 2^53 a float no longer names one whole number.
        if number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0 {
            Self::Whole(number as i64)
        } else {
            Self::Fraction(number)
        }
    }

    /// Reads a number from its text, as a state file of another type may hold it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if let Ok(number) = text.parse::<i64>() {
            return Some(Self::Whole(number));
        }
        text.parse::<f64>().ok().map(Self::from_float)
    }
}

impl From<rmpv::Value> for Value {
    fn from(value: rmpv::Value) -> Self {
        match value {
            rmpv::Value::Nil => Self::Null,
            rmpv::Value::Boolean(truth) => Self::Bool(truth),
            rmpv::Value::Integer(number) => match number.as_i64() {
                Some(number) => Self::whole(number),
                None => Self::Number(Number::Text(number.to_string())),
            },
            rmpv::Value::F32(number) => Self::Number(Number::from_float(f64::from(number))),
            rmpv::Value::F64(number) => Self::Number(Number::from_float(number)),
            rmpv::Value::String(text) => Self::Text(String::from_utf8_lossy(text.as_bytes()).into_owned()),
            rmpv::Value::Binary(bytes) => Self::Text(String::from_utf8_lossy(&bytes).into_owned()),
            rmpv::Value::Array(elements) => Self::List(elements.into_iter().map(Self::from).collect()),
            rmpv::Value::Map(pairs) => Self::Map(
                pairs.into_iter().map(|(key, value)| (key.as_str().unwrap_or_default().to_owned(), Self::from(value))).collect(),
            ),
            rmpv::Value::Ext(..) => Self::Unknown,
        }
    }
}

impl From<serde_json::Value> for Value {
    fn from(value: serde_json::Value) -> Self {
        match value {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(truth) => Self::Bool(truth),
            serde_json::Value::Number(number) => {
                Self::Number(Number::parse(&number.to_string()).unwrap_or_else(|| Number::Text(number.to_string())))
            }
            serde_json::Value::String(text) => Self::Text(text),
            serde_json::Value::Array(elements) => Self::List(elements.into_iter().map(Self::from).collect()),
            serde_json::Value::Object(entries) => {
                Self::Map(entries.into_iter().map(|(key, value)| (key, Self::from(value))).collect())
            }
        }
    }
}

/// The attribute `name` of an object; null when it is absent.
pub(crate) fn at<'a>(object: &'a Object, name: &str) -> &'a Value {
    object.get(name).unwrap_or(&NULL)
}

/// The text of the attribute `name`; empty when it is null, unknown or no text.
pub(crate) fn text_at<'a>(object: &'a Object, name: &str) -> &'a str {
    at(object, name).as_text().unwrap_or_default()
}

/// True when the attribute `name` is set to true.
pub(crate) fn true_at(object: &Object, name: &str) -> bool {
    at(object, name).as_bool().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_survives_the_wire_and_every_extension_is_unknown() {
        let value = Value::Map(Object::from([
            ("list".into(), Value::List(vec![Value::whole(-3), Value::Number(Number::Fraction(0.5)), Value::Unknown])),
            ("text".into(), Value::text("é")),
            ("none".into(), Value::Null),
            ("big".into(), Value::whole(i64::MAX)),
        ]));
        assert_eq!(Value::from_msgpack(&value.to_msgpack()).unwrap(), value);

        let mut refined = Vec::new();
        rmpv::encode::write_value(&mut refined, &rmpv::Value::Ext(12, vec![0x81, 1, 0xc2])).unwrap();
        assert_eq!(Value::from_msgpack(&refined).unwrap(), Value::Unknown);
    }

    #[test]
    fn a_whole_float_is_a_whole_number() {
        assert_eq!(Value::from(rmpv::Value::F64(5.0)), Value::whole(5));
        assert_eq!(Value::from(serde_json::json!(5.0)), Value::whole(5));
    }

    #[test]
    fn garbage_is_an_error() {
        assert!(Value::from_msgpack(&[0xdc, 0xff]).is_err());
        assert!(Value::from_json(b"{").is_err());
    }
}
