//! What a field can be: how it is read, checked and described.

use std::{collections::BTreeMap, ops::RangeInclusive};

use demae_event::{Faults, Timestamp};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::{
    Components, Node, RefOrSchema, Shape,
    schema::{array, bounded, map, sized},
};

/// A kind of field whose value is a `T`. Its bounds are those of its value.
pub trait Kind<T> {
    /// Reads the value, noting every fault.
    fn read(&self, node: Node<'_>) -> Option<T>;

    /// Describes the value, without null.
    fn schema(&self) -> RefOrSchema;

    /// The components that the schema refers to.
    fn components(&self, into: &mut Components) {
        let _ = into;
    }

    /// Notes what is wrong with a value that did not come through [`Kind::read`], or that reading leaves to the domain.
    fn check(&self, value: &T, at: &str, faults: &mut Faults) {
        let _ = (value, at, faults);
    }
}

/// A type that can be read in one way only.
pub trait FromNode: Shape + Sized {
    /// Reads the value, noting every fault.
    fn from_node(node: Node<'_>) -> Option<Self>;

    /// As [`Kind::check`].
    fn check_value(&self, at: &str, faults: &mut Faults) {
        let _ = (at, faults);
    }
}

/// What the type says, and no more.
#[derive(Debug, Clone, Copy)]
pub struct Natural;

impl<T: FromNode> Kind<T> for Natural {
    fn read(&self, node: Node<'_>) -> Option<T> {
        T::from_node(node)
    }

    fn schema(&self) -> RefOrSchema {
        T::shape()
    }

    fn components(&self, into: &mut Components) {
        T::components(into);
    }

    fn check(&self, value: &T, at: &str, faults: &mut Faults) {
        value.check_value(at, faults);
    }
}

impl FromNode for bool {
    fn from_node(node: Node<'_>) -> Option<Self> {
        node.boolean()
    }
}

impl FromNode for Uuid {
    fn from_node(node: Node<'_>) -> Option<Self> {
        node.uuid()
    }
}

impl FromNode for Timestamp {
    fn from_node(node: Node<'_>) -> Option<Self> {
        node.timestamp()
    }
}

impl FromNode for Map<String, Value> {
    fn from_node(node: Node<'_>) -> Option<Self> {
        node.any_object()
    }
}

/// A whole number in a range.
#[derive(Debug, Clone)]
pub struct Whole<N>(pub RangeInclusive<N>);

impl<N> Kind<N> for Whole<N>
where
    N: Shape + Copy + Into<i64> + TryFrom<i64>,
{
    fn read(&self, node: Node<'_>) -> Option<N> {
        let number = node.integer((*self.0.start()).into()..=(*self.0.end()).into())?;
        N::try_from(number).ok()
    }

    fn schema(&self) -> RefOrSchema {
        bounded(N::shape(), (*self.0.start()).into(), (*self.0.end()).into())
    }

    fn check(&self, value: &N, at: &str, faults: &mut Faults) {
        let (value, start, end) = ((*value).into(), (*self.0.start()).into(), (*self.0.end()).into());
        if !(start..=end).contains(&value) {
            faults.push_value(at, format!("must be from {start} to {end}"), value);
        }
    }
}

/// A list of so many items of a kind.
#[derive(Debug, Clone)]
pub struct List<K>(pub RangeInclusive<usize>, pub K);

impl<T, K: Kind<T>> Kind<Vec<T>> for List<K> {
    fn read(&self, node: Node<'_>) -> Option<Vec<T>> {
        node.array(self.0.clone(), |node| self.1.read(node))
    }

    fn schema(&self) -> RefOrSchema {
        sized(array(self.1.schema()), self.0.clone())
    }

    fn components(&self, into: &mut Components) {
        self.1.components(into);
    }

    fn check(&self, value: &Vec<T>, at: &str, faults: &mut Faults) {
        for (place, item) in value.iter().enumerate() {
            self.1.check(item, &format!("{at}[{place}]"), faults);
        }
    }
}

/// An object of at most so many entries of a kind, whose keys the caller chooses.
#[derive(Debug, Clone)]
pub struct Entries<K>(pub usize, pub K);

impl<T, K: Kind<T>> Kind<BTreeMap<String, T>> for Entries<K> {
    fn read(&self, node: Node<'_>) -> Option<BTreeMap<String, T>> {
        node.entries(self.0, |node| self.1.read(node))
    }

    fn schema(&self) -> RefOrSchema {
        map(self.1.schema())
    }

    fn components(&self, into: &mut Components) {
        self.1.components(into);
    }

    fn check(&self, value: &BTreeMap<String, T>, at: &str, faults: &mut Faults) {
        for (key, item) in value {
            self.1.check(item, &demae_event::fault::keyed(at, key), faults);
        }
    }
}
