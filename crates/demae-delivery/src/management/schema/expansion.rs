//! Counts the schemas that a schema stands for, with every reference followed.

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use super::{
    Refusal,
    keyword::{self, Inner, Key, Subject},
    pattern::Patterns,
    size::Measured,
};

/// Schemas that a schema stands for, with every reference followed up to where it closes a circle.
pub const MAX_EXPANDED_SCHEMAS: usize = 10_000;
/// Schemas in each other, with every reference followed.
pub const MAX_EXPANDED_DEPTH: usize = 128;

/// Bytes of its pointer that make a schema count as one more: the library keeps the pointer of every schema.
const POINTER_BYTES: usize = 64;
/// How often the library goes over what `unevaluatedProperties` and `unevaluatedItems` look at.
pub(super) const LOOKS: usize = 3;

/// Keywords that give a reference another meaning than a pointer into this document.
const REFUSED: [&str; 5] = [
    "$dynamicRef",
    "$dynamicAnchor",
    "$recursiveRef",
    "$recursiveAnchor",
    "$vocabulary",
];

/// Refuses a schema that stands for more than can be compiled, or refers to something that is not in it.
pub(super) fn walk(schema: &Value, measured: &Measured) -> Result<(), Refusal> {
    let mut walk = Walk {
        root: schema,
        has_references: measured.references > 0,
        left: MAX_EXPANDED_SCHEMAS,
        open: vec![Open {
            target: schema,
            level: 0,
        }],
        patterns: Patterns::default(),
        pointer: String::new(),
    };
    let place = Place {
        depth: 0,
        level: 0,
        follows: true,
    };
    walk.visit(schema, place)
}

/// The schema at a JSON pointer of `root`, with that pointer.
pub(super) fn resolve<'s>(root: &'s Value, reference: &str) -> Option<(&'s Value, String)> {
    let pointer = reference.strip_prefix('#')?;
    let pointer = percent_decode_str(pointer).decode_utf8().ok()?;
    let target = root.pointer(&pointer)?;
    Some((target, pointer.into_owned()))
}

struct Walk<'s> {
    root: &'s Value,
    has_references: bool,
    left: usize,
    /// References that are being followed.
    open: Vec<Open<'s>>,
    patterns: Patterns<'s>,
    /// Where the walk is.
    pointer: String,
}

struct Open<'s> {
    target: &'s Value,
    /// See [`Place::level`].
    level: usize,
}

#[derive(Clone, Copy)]
struct Place {
    /// Schemas around this one.
    depth: usize,
    /// How deep in the data the schema is applied.
    level: usize,
    /// Whether references are followed: not below definitions, which are visited when something refers to them.
    follows: bool,
}

impl<'s> Walk<'s> {
    fn refuse<T>(&self, reason: impl Into<String>) -> Result<T, Refusal> {
        Err(Refusal::new(&self.pointer, reason))
    }

    fn visit(&mut self, schema: &'s Value, place: Place) -> Result<(), Refusal> {
        self.spend()?;
        if place.depth >= MAX_EXPANDED_DEPTH {
            return self.refuse(format!(
                "must not be deeper than {MAX_EXPANDED_DEPTH} schemas, references followed"
            ));
        }
        // What is no schema at all is told by the meta-schema.
        let Value::Object(schema) = schema else {
            return Ok(());
        };
        self.check_keywords(schema)?;
        self.check_patterns(schema)?;
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            self.follow(reference, place)?;
        }
        let looks = if keyword::looks_again(schema) { LOOKS } else { 1 };
        for inner in keyword::applied(schema) {
            let times = if inner.subject == Subject::Same { looks } else { 1 };
            for _ in 0..times {
                self.enter(&inner, place)?;
            }
        }
        if self.open.len() == 1 {
            let unfollowed = Place {
                follows: false,
                ..place
            };
            for inner in keyword::defined(schema) {
                self.enter(&inner, unfollowed)?;
            }
        }
        Ok(())
    }

    fn spend(&mut self) -> Result<(), Refusal> {
        match self.left.checked_sub(1 + self.pointer.len() / POINTER_BYTES) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => self.refuse(format!(
                "is one schema too many: with every reference followed, a schema stands for at most {MAX_EXPANDED_SCHEMAS}"
            )),
        }
    }

    fn enter(&mut self, inner: &Inner<'s>, place: Place) -> Result<(), Refusal> {
        let length = self.pointer.len();
        self.pointer.push('/');
        self.pointer.push_str(inner.keyword);
        match inner.key {
            Key::Only => {}
            Key::Item(index) => {
                self.pointer.push('/');
                self.pointer.push_str(&index.to_string());
            }
            Key::Name(name) => {
                self.pointer.push('/');
                self.pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
            }
        }
        let place = Place {
            depth: place.depth + 1,
            level: place.level + usize::from(inner.subject == Subject::Part),
            ..place
        };
        self.visit(inner.schema, place)?;
        self.pointer.truncate(length);
        Ok(())
    }

    fn follow(&mut self, reference: &str, place: Place) -> Result<(), Refusal> {
        let Some((target, pointer)) = resolve(self.root, reference) else {
            return self
                .refuse("must refer to a place in this schema by a JSON pointer, such as #/$defs/name");
        };
        if !place.follows {
            return Ok(());
        }
        if let Some(open) = self.open.iter().find(|open| std::ptr::eq(open.target, target)) {
            return if open.level == place.level {
                self.refuse("refers to itself for the same value, which has no end")
            } else {
                Ok(())
            };
        }
        self.open.push(Open {
            target,
            level: place.level,
        });
        let referrer = std::mem::replace(&mut self.pointer, pointer);
        let place = Place {
            depth: place.depth + 1,
            ..place
        };
        self.visit(target, place)?;
        self.pointer = referrer;
        self.open.pop();
        Ok(())
    }

    fn check_keywords(&self, schema: &Map<String, Value>) -> Result<(), Refusal> {
        if let Some(keyword) = REFUSED.iter().find(|keyword| schema.contains_key(**keyword)) {
            return self.refuse(format!("must not use {keyword}"));
        }
        // With a base of its own, a schema gives the references below it another meaning.
        let has_base = ["$id", "id"].into_iter().find(|keyword| {
            let id = schema.get(*keyword).and_then(Value::as_str);
            id.is_some_and(|id| !id.starts_with('#'))
        });
        let is_root = std::ptr::eq(schema, self.root.as_object().unwrap_or(schema));
        match has_base.filter(|_| self.has_references && !is_root) {
            Some(keyword) => self.refuse(format!(
                "must not have {keyword}, because the schema uses references"
            )),
            None => Ok(()),
        }
    }

    fn check_patterns(&mut self, schema: &'s Map<String, Value>) -> Result<(), Refusal> {
        let pattern = schema.get("pattern").and_then(Value::as_str);
        let names = schema.get("patternProperties").and_then(Value::as_object);
        let names = names.into_iter().flat_map(Map::keys).map(String::as_str);
        let patterns = pattern.map(|pattern| ("pattern", pattern));
        for (keyword, pattern) in patterns
            .into_iter()
            .chain(names.map(|name| ("patternProperties", name)))
        {
            if let Err(reason) = self.patterns.check(pattern) {
                let pointer = format!("{}/{keyword}", self.pointer);
                return Err(Refusal::new(&pointer, reason));
            }
        }
        Ok(())
    }
}
