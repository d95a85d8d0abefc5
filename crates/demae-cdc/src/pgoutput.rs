//! The bytes of Postgres's output plugin `pgoutput`, as far as a reader of inserts needs them.
//!
//! Layout: Postgres's documentation, "Logical Replication Message Formats". Decoding never panics and copies nothing but
//! names: values are slices of what came from the network.
//!
//! Version 2 of the protocol is asked for, without its streaming of transactions that have not ended: with it *this*
//! process would have to keep them until it knows whether they commit. Without it the server does, on its disk
//! (`logical_decoding_work_mem`), and sends a transaction of any size when it has committed: memory here stays bounded and
//! rolled-back work is never sent. A streamed message is therefore an error, with a name of its own.

use bytes::Bytes;
use demae_event::Timestamp;

/// Microseconds from 1970 to 2000, where Postgres's times begin.
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;
/// More columns than a Postgres table can have (1,600) is no table.
const MAX_COLUMNS: usize = 1_600;

/// The bytes are not what the plugin writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// They end too early.
    #[error("a message ends within its {0}")]
    Short(&'static str),
    /// A name is not UTF-8. (The connection asks for UTF-8.)
    #[error("a name is not UTF-8")]
    NotText,
    /// A count that cannot be.
    #[error("a message announces {0} columns")]
    Columns(usize),
    /// An insert without a new row.
    #[error("an insert has no new row but {0:#04x}")]
    NoNewRow(u8),
    /// A value of an unknown kind.
    #[error("a value has the unknown kind {0:#04x}")]
    ValueKind(u8),
    /// A piece of a transaction that has not ended, which was not asked for.
    #[error("the server streams transactions that have not ended, which was not asked for")]
    Streaming,
    /// A message of an unknown kind.
    #[error("a message has the unknown kind {0:#04x}")]
    Kind(u8),
}

/// The number of a transaction, as the log has it: the lower half of the full one, so it goes round.
pub type Xid = u32;

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A transaction begins. What it changed follows, and then its commit: the messages of two are never mixed.
    Begin {
        /// Its number.
        xid: Xid,
        /// When it committed, by the server's clock.
        committed_at: Timestamp,
    },
    /// The transaction that began has ended.
    Commit {
        /// The position of the log behind it.
        end: u64,
    },
    /// What `pg_logical_emit_message` wrote.
    Emitted(Emitted),
    /// A table as it looks from here on.
    Relation(Relation),
    /// A new row.
    Insert(Insert),
    /// Something that a reader of inserts passes over: an update, a delete, a truncation, a type, an origin.
    Other,
}

/// A message that an application wrote into the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emitted {
    /// Whether it belongs to a transaction. One that does not stands for itself, and is there even if the transaction
    /// that wrote it was rolled back.
    pub transactional: bool,
    /// Where it stands in the log.
    pub position: u64,
    /// Which application it is for.
    pub prefix: String,
    /// What it says.
    pub content: Bytes,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// By which rows name it.
    pub id: u32,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Its columns, in the order of a row's values.
    pub columns: Vec<Column>,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// The OID of its type.
    pub type_id: u32,
}

impl Column {
    /// A column of text.
    pub fn text(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            type_id: 25,
        }
    }

    /// Whether it is a number: int8, int2, int4, numeric.
    pub fn is_number(&self) -> bool {
        matches!(self.type_id, 20 | 21 | 23 | 1700)
    }
}

/// A new row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Insert {
    /// The table's [`Relation::id`].
    pub relation: u32,
    /// The values, for [`values`].
    pub tuple: Bytes,
}

/// A value of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// NULL.
    Null,
    /// A large value that an update left as it was. Never part of an insert.
    Unchanged,
    /// In Postgres's text form.
    Text(&'a [u8]),
    /// In Postgres's binary form, which is not asked for.
    Binary(&'a [u8]),
}

impl<'a> Value<'a> {
    /// The text, if it is one.
    pub fn text(self) -> Option<&'a str> {
        match self {
            Self::Text(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }
}

/// Reads one message.
pub fn decode(message: &Bytes) -> Result<Message, DecodeError> {
    let mut rest = Cursor(message);
    match rest.byte("kind")? {
        b'B' => {
            rest.u64("position")?;
            let committed_at = rest.u64("commit time")?.cast_signed();
            let xid = rest.u32("transaction")?;
            Ok(Message::Begin {
                xid,
                committed_at: Timestamp::from_micros(committed_at.saturating_add(POSTGRES_EPOCH)),
            })
        }
        b'C' => {
            rest.byte("flags")?;
            rest.u64("position")?;
            let end = rest.u64("end")?;
            rest.u64("commit time")?;
            Ok(Message::Commit { end })
        }
        b'M' => emitted(rest, message).map(Message::Emitted),
        b'R' => relation(rest).map(Message::Relation),
        b'I' => {
            let relation = rest.u32("table")?;
            match rest.byte("row")? {
                b'N' => Ok(Message::Insert(Insert {
                    relation,
                    tuple: message.slice(message.len() - rest.0.len()..),
                })),
                other => Err(DecodeError::NoNewRow(other)),
            }
        }
        b'U' | b'D' | b'T' | b'Y' | b'O' => Ok(Message::Other),
        b'S' | b'E' | b'c' | b'A' => Err(DecodeError::Streaming),
        other => Err(DecodeError::Kind(other)),
    }
}

/// The values of a row.
pub fn values(tuple: &[u8]) -> Result<Vec<Value<'_>>, DecodeError> {
    let mut rest = Cursor(tuple);
    let count = rest.count()?;
    let mut values = Vec::with_capacity(count);
    for _ in 0..count {
        values.push(match rest.byte("value")? {
            b'n' => Value::Null,
            b'u' => Value::Unchanged,
            b't' => Value::Text(rest.sized()?),
            b'b' => Value::Binary(rest.sized()?),
            other => return Err(DecodeError::ValueKind(other)),
        });
    }
    Ok(values)
}

/// Writes a row as the plugin does, for rows that were read from the table itself.
pub(crate) fn tuple<'a>(values: impl ExactSizeIterator<Item = Option<&'a str>>) -> Bytes {
    let mut bytes = Vec::with_capacity(256);
    bytes.extend_from_slice(&(values.len() as u16).to_be_bytes());
    for value in values {
        match value {
            None => bytes.push(b'n'),
            Some(text) => {
                bytes.push(b't');
                bytes.extend_from_slice(&(text.len() as u32).to_be_bytes());
                bytes.extend_from_slice(text.as_bytes());
            }
        }
    }
    bytes.into()
}

fn emitted(mut rest: Cursor<'_>, message: &Bytes) -> Result<Emitted, DecodeError> {
    let transactional = rest.byte("flags")? & 1 == 1;
    let position = rest.u64("position")?;
    let prefix = rest.text()?;
    let content = rest.sized()?;
    Ok(Emitted {
        transactional,
        position,
        prefix,
        content: message.slice_ref(content),
    })
}

fn relation(mut rest: Cursor<'_>) -> Result<Relation, DecodeError> {
    let id = rest.u32("table")?;
    let schema = rest.text()?;
    let name = rest.text()?;
    rest.byte("replica identity")?;
    let count = rest.count()?;
    let mut columns = Vec::with_capacity(count);
    for _ in 0..count {
        rest.byte("column's flags")?;
        columns.push(Column {
            name: rest.text()?,
            type_id: rest.u32("column's type")?,
        });
        rest.u32("column's type modifier")?;
    }
    Ok(Relation {
        id,
        schema,
        name,
        columns,
    })
}

/// What is left of a message.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(DecodeError::Short(what))?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        Ok(self.take(1, what)?[0])
    }

    fn u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        let bytes = self.take(4, what)?;
        Ok(bytes
            .iter()
            .fold(0, |number, byte| number << 8 | u32::from(*byte)))
    }

    fn u64(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        Ok(u64::from(self.u32(what)?) << 32 | u64::from(self.u32(what)?))
    }

    fn count(&mut self) -> Result<usize, DecodeError> {
        let bytes = self.take(2, "count")?;
        let count = usize::from(bytes[0]) << 8 | usize::from(bytes[1]);
        if count > MAX_COLUMNS {
            return Err(DecodeError::Columns(count));
        }
        Ok(count)
    }

    fn sized(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.u32("value's length")? as usize;
        self.take(length, "value")
    }

    fn text(&mut self) -> Result<String, DecodeError> {
        let end = memchr::memchr(0, self.0).ok_or(DecodeError::Short("name"))?;
        let name = self.take(end, "name")?;
        self.take(1, "name")?;
        String::from_utf8(name.to_vec()).map_err(|_| DecodeError::NotText)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn relation_bytes(id: u32, columns: &[&str]) -> Bytes {
        let mut bytes = vec![b'R'];
        bytes.extend(id.to_be_bytes());
        bytes.extend(b"public\0outbox_events\0d");
        bytes.extend((columns.len() as u16).to_be_bytes());
        for column in columns {
            bytes.push(1);
            bytes.extend(column.as_bytes());
            bytes.push(0);
            bytes.extend(2950_u32.to_be_bytes());
            bytes.extend(u32::MAX.to_be_bytes());
        }
        bytes.into()
    }

    #[test]
    fn reads_a_table_and_its_row() {
        let Ok(Message::Relation(table)) = decode(&relation_bytes(7, &["id", "größe"])) else {
            panic!("not a table");
        };
        assert_eq!(
            (table.id, table.schema.as_str(), table.name.as_str()),
            (7, "public", "outbox_events")
        );
        let columns: Vec<_> = table
            .columns
            .iter()
            .map(|column| (column.name.as_str(), column.type_id))
            .collect();
        assert_eq!(columns, [("id", 2950), ("größe", 2950)]);

        let mut row = b"I\0\0\0\x07N".to_vec();
        row.extend(tuple([Some("a"), None].into_iter()));
        let Ok(Message::Insert(insert)) = decode(&row.into()) else {
            panic!("not a row");
        };
        assert_eq!(insert.relation, 7);
        assert_eq!(values(&insert.tuple), Ok(vec![Value::Text(b"a"), Value::Null]));
    }

    #[test]
    fn reads_a_transaction_and_a_message_in_it() {
        let mut begin = b"B".to_vec();
        begin.extend(0x0000_0001_0000_0002_u64.to_be_bytes());
        begin.extend(1_000_000_u64.to_be_bytes());
        begin.extend(77_u32.to_be_bytes());
        assert_eq!(
            decode(&begin.into()),
            Ok(Message::Begin {
                xid: 77,
                committed_at: Timestamp::from_secs(946_684_801)
            })
        );
        let mut commit = b"C\0".to_vec();
        commit.extend(1_u64.to_be_bytes());
        commit.extend(0x16_B374_D848_u64.to_be_bytes());
        commit.extend(2_u64.to_be_bytes());
        assert_eq!(
            decode(&commit.into()),
            Ok(Message::Commit { end: 0x16_B374_D848 })
        );
        let mut emitted = b"M\x01".to_vec();
        emitted.extend(9_u64.to_be_bytes());
        emitted.extend(b"demae\0\0\0\0\x02{}");
        assert_eq!(
            decode(&emitted.into()),
            Ok(Message::Emitted(Emitted {
                transactional: true,
                position: 9,
                prefix: "demae".to_owned(),
                content: Bytes::from_static(b"{}"),
            }))
        );
    }

    #[test]
    fn names_what_is_wrong() {
        let cases: [(&[u8], DecodeError); 9] = [
            (b"", DecodeError::Short("kind")),
            (b"I\0\0\0\x01K", DecodeError::NoNewRow(b'K')),
            (b"R\0\0\0\x01public\0t\0d\xff\xff", DecodeError::Columns(65_535)),
            (b"R\0\0\0\x01\xff\0t\0d\0\0", DecodeError::NotText),
            (b"S\0\0\0\x01\x01", DecodeError::Streaming),
            (b"B\0\0\0\x01", DecodeError::Short("position")),
            (b"C\0", DecodeError::Short("position")),
            (
                b"M\x01\0\0\0\0\0\0\0\x09demae\0\0\0\0\x03{}",
                DecodeError::Short("value"),
            ),
            (b"?", DecodeError::Kind(b'?')),
        ];
        for (bytes, error) in cases {
            assert_eq!(decode(&Bytes::from_static(bytes)), Err(error));
        }
        assert_eq!(values(b"\0\x01t\0\0\0\x05abc"), Err(DecodeError::Short("value")));
        assert_eq!(values(b"\0\x01x"), Err(DecodeError::ValueKind(b'x')));
    }

    #[test]
    fn a_message_cut_anywhere_is_an_error() {
        let whole = relation_bytes(1, &["id", "payload"]);
        for end in 0..whole.len() {
            assert!(decode(&whole.slice(..end)).is_err(), "cut at {end}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256), kind in "[BCMRIUDSx]") {
            let mut framed = kind.into_bytes();
            framed.extend(&bytes);
            if let Ok(Message::Insert(insert)) = decode(&framed.into()) {
                let _ = values(&insert.tuple);
            }
            let _ = values(&bytes);
        }

        #[test]
        fn rows_are_read_back(row in proptest::collection::vec(proptest::option::of(".*"), 0..20)) {
            let bytes = tuple(row.iter().map(Option::as_deref));
            let read: Vec<_> = values(&bytes).unwrap().into_iter().map(Value::text).collect();
            prop_assert_eq!(read, row.iter().map(Option::as_deref).collect::<Vec<_>>());
        }
    }
}
