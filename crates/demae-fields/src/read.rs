//! Taking JSON apart, gathering every fault.
//!
//! A reader asks for each field by name and says what it must be. What is missing, of another type, out of bounds or not
//! asked for at all ends up in one list, so that a caller who got three things wrong hears of all three. Readers return
//! `None` where they noted a fault; the value as a whole is read only if the list stayed empty.
//!
//! `#[derive(Input)]` writes such readers. By hand they look like this:
//!
//! ```text
//! let name = fields.field("name").required(|node| node.string(1..=255));
//! let slug = fields.field("slug").optional(|node| node.string(2..=100));
//! Some(CreateCustomer { name: name?, slug: slug? })
//! ```

use std::{cell::RefCell, collections::BTreeMap, ops::RangeInclusive};

use demae_event::{Fault, Timestamp};
use serde_json::{Map, Number, Value};
use uuid::Uuid;

/// Faults that are gathered of one value. A body of a million wrong items needs no list of a million faults.
pub const MAX_FAULTS: usize = 100;

/// What reading came to: `None` where a fault was noted.
pub type Read<T> = Option<T>;

/// What becomes of keys that no reader asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unknown {
    /// Each of them is a fault.
    #[default]
    Refuse,
    /// They are passed over.
    Ignore,
}

/// Reads an object that stands at the place `at`.
///
/// # Errors
///
/// Every fault that was found, up to [`MAX_FAULTS`].
pub fn read<T>(
    value: &Value,
    at: &str,
    unknown: Unknown,
    read: impl FnOnce(&mut Fields<'_>) -> Option<T>,
) -> Result<T, Vec<Fault>> {
    let reading = Reading {
        faults: RefCell::default(),
        unknown,
    };
    let node = Node {
        value,
        at: at.to_owned(),
        reading: &reading,
    };
    let read = node.object(|fields| read(fields));
    match (read, reading.faults.into_inner()) {
        (Some(read), faults) if faults.is_empty() => Ok(read),
        (_, faults) => Err(faults),
    }
}

/// What all readers of one value share.
struct Reading {
    faults: RefCell<Vec<Fault>>,
    unknown: Unknown,
}

impl Reading {
    fn note(&self, location: String, message: impl Into<String>, value: Option<&Value>) {
        let mut faults = self.faults.borrow_mut();
        if faults.len() < MAX_FAULTS {
            // Copying a large value would be for nothing: only scalars are shown.
            let value = value
                .filter(|value| !value.is_object() && !value.is_array())
                .cloned();
            faults.push(Fault {
                location,
                message: message.into(),
                value,
            });
        }
    }
}

/// The fields of an object.
pub struct Fields<'v> {
    object: &'v Map<String, Value>,
    at: String,
    asked: Vec<&'static str>,
    reading: &'v Reading,
}

impl<'v> Fields<'v> {
    /// The field called `name`, there or not.
    pub fn field(&mut self, name: &'static str) -> Field<'v> {
        self.asked.push(name);
        Field {
            value: self.object.get(name),
            at: format!("{}.{name}", self.at),
            reading: self.reading,
        }
    }

    fn refuse_others(&self) {
        if self.reading.unknown == Unknown::Ignore {
            return;
        }
        for (key, value) in self
            .object
            .iter()
            .filter(|(key, _)| !self.asked.contains(&key.as_str()))
        {
            let shown: String = key.chars().take(100).collect();
            let at = format!("{}.{shown}", self.at);
            self.reading.note(at, "is not a known property", Some(value));
        }
    }
}

/// A field that may be there.
pub struct Field<'v> {
    value: Option<&'v Value>,
    at: String,
    reading: &'v Reading,
}

impl<'v> Field<'v> {
    /// Must be there.
    pub fn required<T>(self, read: impl FnOnce(Node<'v>) -> Option<T>) -> Option<T> {
        let Some(value) = self.value else {
            self.reading.note(self.at, "is required", None);
            return None;
        };
        read(Node {
            value,
            at: self.at,
            reading: self.reading,
        })
    }

    /// May be left out, but is not null.
    pub fn optional<T>(self, read: impl FnOnce(Node<'v>) -> Option<T>) -> Read<Option<T>> {
        match self.value {
            Some(value) => read(Node {
                value,
                at: self.at,
                reading: self.reading,
            })
            .map(Some),
            None => Some(None),
        }
    }

    /// May be left out or null, which mean the same.
    pub fn nullable<T>(self, read: impl FnOnce(Node<'v>) -> Option<T>) -> Read<Option<T>> {
        Self {
            value: self.value.filter(|value| !value.is_null()),
            ..self
        }
        .optional(read)
    }

    /// May be left out, or null, which mean different things.
    pub fn clearable<T>(self, read: impl FnOnce(Node<'v>) -> Option<T>) -> Read<Option<Option<T>>> {
        self.optional(|node| {
            if node.value.is_null() {
                Some(None)
            } else {
                read(node).map(Some)
            }
        })
    }
}

/// A value at its place.
pub struct Node<'v> {
    value: &'v Value,
    at: String,
    reading: &'v Reading,
}

impl<'v> Node<'v> {
    /// Notes that the value is wrong.
    pub fn refuse<T>(self, message: impl Into<String>) -> Option<T> {
        self.reading.note(self.at, message, Some(self.value));
        None
    }

    /// Notes that the value is wrong, without repeating it: it may be a secret.
    fn refuse_unseen<T>(self, message: impl Into<String>) -> Option<T> {
        self.reading.note(self.at, message, None);
        None
    }

    /// A text of so many characters.
    pub fn string(self, length: RangeInclusive<usize>) -> Option<String> {
        match self.value.as_str() {
            Some(text) => match text_fault(text, &length) {
                None => Some(text.to_owned()),
                Some(message) => self.refuse(message),
            },
            None => self.refuse("must be a string"),
        }
    }

    /// A text of so many characters that passes `check`, whose error says what it must be.
    pub fn string_with(
        self,
        length: RangeInclusive<usize>,
        check: impl FnOnce(&str) -> Result<(), String>,
    ) -> Option<String> {
        let fault = self.value.as_str().map(|text| match text_fault(text, &length) {
            None => check(text),
            Some(message) => Err(message),
        });
        match fault {
            Some(Err(message)) => self.refuse(message),
            _ => self.string(length),
        }
    }

    /// One of these texts.
    pub fn one_of(self, choices: &[&str]) -> Option<String> {
        match self.value.as_str() {
            Some(text) if choices.contains(&text) => Some(text.to_owned()),
            _ => {
                let message = format!("must be one of {}", choices.join(", "));
                self.refuse(message)
            }
        }
    }

    /// `true` or `false`.
    pub fn boolean(self) -> Option<bool> {
        match self.value {
            Value::Bool(value) => Some(*value),
            _ => self.refuse("must be a boolean"),
        }
    }

    /// A text of so many characters that is never repeated in a fault.
    pub fn secret(self, length: RangeInclusive<usize>) -> Option<String> {
        match self.value.as_str() {
            Some(text) => match text_fault(text, &length) {
                None => Some(text.to_owned()),
                Some(message) => self.refuse_unseen(message),
            },
            None => self.refuse_unseen("must be a string"),
        }
    }

    /// A whole number within `range`; `3.0` is one (JSON Schema, draft 2020-12, section 6.1.1).
    pub fn integer(self, range: RangeInclusive<i64>) -> Option<i64> {
        let whole = match self.value {
            Value::Number(number) => number
                .as_i64()
                // Beyond the range of i64 the cast saturates, which is out of any range that is asked for.
                .or_else(|| {
                    number
                        .as_f64()
                        .filter(|value| value.fract() == 0.0)
                        .map(|value| value as i64)
                }),
            _ => None,
        };
        match whole {
            Some(value) if range.contains(&value) => Some(value),
            Some(_) => self.refuse(format!("must be from {} to {}", range.start(), range.end())),
            None => self.refuse("must be an integer"),
        }
    }

    /// The same, or its decimal digits as text.
    pub fn integer_or_digits(self, range: RangeInclusive<i64>) -> Option<i64> {
        let Some(text) = self.value.as_str() else {
            return self.integer(range);
        };
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse().ok().filter(|value| range.contains(value)) {
            Some(value) if digits => Some(value),
            _ => self.refuse(format!("must be from {} to {}", range.start(), range.end())),
        }
    }

    /// A number of any kind that `read` takes; its error says what it must be.
    pub fn number_with<T>(self, read: impl FnOnce(&Number) -> Result<T, String>) -> Option<T> {
        match self.value.as_number().map(read) {
            Some(Ok(value)) => Some(value),
            Some(Err(message)) => self.refuse(message),
            None => self.refuse("must be a number"),
        }
    }

    /// A UUID.
    pub fn uuid(self) -> Option<Uuid> {
        match self.value.as_str().map(Uuid::try_parse) {
            Some(Ok(id)) => Some(id),
            Some(Err(_)) => self.refuse("must be a UUID"),
            None => self.refuse("must be a string"),
        }
    }

    /// An RFC 3339 time.
    pub fn timestamp(self) -> Option<Timestamp> {
        match self.value.as_str().map(str::parse) {
            Some(Ok(moment)) => Some(moment),
            Some(Err(_)) => self.refuse("must be an RFC 3339 date-time"),
            None => self.refuse("must be a string"),
        }
    }

    /// A list of so many items.
    pub fn array<T>(
        self,
        length: RangeInclusive<usize>,
        mut read: impl FnMut(Node<'v>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let Some(items) = self.value.as_array() else {
            return self.refuse("must be an array");
        };
        if !length.contains(&items.len()) {
            return self.refuse(format!("must have {} to {} items", length.start(), length.end()));
        }
        let nodes = items.iter().enumerate().map(|(index, value)| Node {
            value,
            at: format!("{}[{index}]", self.at),
            reading: self.reading,
        });
        // Every item is read before the list is given up.
        let items: Vec<Option<T>> = nodes.map(&mut read).collect();
        items.into_iter().collect()
    }

    /// Whether it is an object, of whatever content.
    pub fn is_object(&self) -> bool {
        self.value.is_object()
    }

    /// An object with known fields.
    pub fn object<T>(self, read: impl FnOnce(&mut Fields<'v>) -> Option<T>) -> Option<T> {
        let Some(object) = self.value.as_object() else {
            return self.refuse("must be an object");
        };
        let mut fields = Fields {
            object,
            at: self.at,
            asked: Vec::new(),
            reading: self.reading,
        };
        let value = read(&mut fields);
        fields.refuse_others();
        value
    }

    /// An object of any content.
    pub fn any_object(self) -> Option<Map<String, Value>> {
        match self.value.as_object() {
            Some(object) => Some(object.clone()),
            None => self.refuse("must be an object"),
        }
    }

    /// Anything.
    pub fn any(self) -> Value {
        self.value.clone()
    }

    /// An object whose keys are anything and whose values are objects with known fields.
    pub fn map<T>(
        self,
        entries: usize,
        mut read: impl FnMut(&mut Fields<'v>) -> Option<T>,
    ) -> Option<BTreeMap<String, T>> {
        self.entries(entries, |node| node.object(&mut read))
    }

    /// An object whose keys are anything.
    pub fn entries<T>(
        self,
        entries: usize,
        mut read: impl FnMut(Node<'v>) -> Option<T>,
    ) -> Option<BTreeMap<String, T>> {
        let Some(object) = self.value.as_object() else {
            return self.refuse("must be an object");
        };
        if object.len() > entries {
            return self.refuse(format!("must have at most {entries} entries"));
        }
        let nodes = object.iter().map(|(key, value)| {
            let node = Node {
                value,
                at: format!("{}.{key}", self.at),
                reading: self.reading,
            };
            (key.clone(), read(node))
        });
        // Every entry is read before the map is given up.
        let read: Vec<(String, Option<T>)> = nodes.collect();
        read.into_iter().map(|(key, value)| Some((key, value?))).collect()
    }

    /// An object of texts. Its values are never repeated in a fault: they may be credentials.
    pub fn text_map(
        self,
        entries: usize,
        key: RangeInclusive<usize>,
        value: RangeInclusive<usize>,
    ) -> Option<BTreeMap<String, String>> {
        let Some(object) = self.value.as_object() else {
            return self.refuse("must be an object");
        };
        if object.len() > entries {
            return self.refuse(format!("must have at most {entries} entries"));
        }
        let mut map = BTreeMap::new();
        let mut whole = true;
        for (name, text) in object {
            let node = Node {
                value: text,
                at: format!("{}.{name}", self.at),
                reading: self.reading,
            };
            let fault = match text.as_str() {
                None => Some("must be a string".to_owned()),
                Some(text) => text_fault(text, &value),
            };
            let fault = text_fault(name, &key)
                .map(|fault| format!("its name {fault}"))
                .or(fault);
            match (fault, text.as_str()) {
                (None, Some(text)) => {
                    map.insert(name.clone(), text.to_owned());
                }
                (fault, _) => {
                    whole = false;
                    let _: Option<()> = node.refuse_unseen(fault.unwrap_or_default());
                }
            }
        }
        whole.then_some(map)
    }
}

/// What is wrong with `text` as a text of so many characters.
pub fn text_fault(text: &str, length: &RangeInclusive<usize>) -> Option<String> {
    // Databases cannot hold it; a raw U+0000 cannot be in JSON, but can be in a query.
    if text.contains('\0') {
        return Some("must not contain the character U+0000".to_owned());
    }
    let count = text.chars().count();
    if length.contains(&count) {
        None
    } else if count < *length.start() {
        Some(format!("must have at least {} characters", length.start()))
    } else {
        Some(format!("must have at most {} characters", length.end()))
    }
}
