//! Where a plugin's state is kept: one keyspace for each form of it.
//!
//! ```text
//! alone                  empty: the first one, of plugins that declare no schema | per-week@7
//! with its plugin        daily-limit                                             | daily-limit/per-week@7
//! ```
//! The number is the chain revision with which the keyspace came, so that none is ever taken for
//! another that had the same schema. Promises: a text that is read is written the same way again.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::{ChainRevision, InvalidId, NAME_BYTES_MAX, PluginName};

/// The form in which a version of a plugin keeps its state, by name. Empty if it declares none.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Schema(Arc<str>);

impl Schema {
    /// Reads a name, or says what a good one looks like.
    pub fn parse(raw: &str) -> Result<Self, InvalidId> {
        let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        if raw.len() > NAME_BYTES_MAX || !raw.bytes().all(is_allowed) {
            return Err(InvalidId::new("schema", raw, "use up to 64 of a-z A-Z 0-9 . _ -"));
        }
        Ok(Self(raw.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is that of plugins which declare none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Default for Schema {
    fn default() -> Self {
        Self(Arc::from(""))
    }
}

/// One keyspace of a plugin's state. The default is the first: of no schema, there from the start.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Keyspace {
    schema: Schema,
    since: ChainRevision,
}

impl Keyspace {
    /// The keyspace that comes with the change of a chain to `since`.
    ///
    /// # Panics
    /// At revision 0, which no change makes.
    pub fn new(schema: Schema, since: ChainRevision) -> Self {
        assert!(since > ChainRevision(0), "the first keyspace is the default one");
        Self { schema, since }
    }

    /// The form of what is in it.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Whether it is the one that was there before there were schemas.
    pub fn is_first(&self) -> bool {
        self.since == ChainRevision(0)
    }

    /// Reads what [`Display`](fmt::Display) writes.
    pub fn parse(raw: &str) -> Result<Self, InvalidId> {
        let wrong = || InvalidId::new("keyspace", raw, "write SCHEMA@REVISION, as per-week@7");
        if raw.is_empty() {
            return Ok(Self::default());
        }
        let (schema, since) = raw.split_once('@').ok_or_else(wrong)?;
        let revision: u64 = since.parse().map_err(|_| wrong())?;
        if revision == 0 || revision.to_string() != since {
            return Err(wrong());
        }
        Ok(Self { schema: Schema::parse(schema)?, since: ChainRevision(revision) })
    }

    /// The keyspace with its plugin, as one name.
    pub fn of(&self, plugin: &PluginName) -> String {
        if self.is_first() { plugin.to_string() } else { format!("{plugin}/{self}") }
    }

    /// Reads what [`of`](Self::of) writes.
    pub fn parse_with_plugin(raw: &str) -> Result<(PluginName, Self), InvalidId> {
        let Some((plugin, keyspace)) = raw.split_once('/') else {
            return Ok((PluginName::parse(raw)?, Self::default()));
        };
        let (plugin, keyspace) = (PluginName::parse(plugin)?, Self::parse(keyspace)?);
        if keyspace.is_first() {
            return Err(InvalidId::new("keyspace", raw, "leave out what is empty"));
        }
        Ok((plugin, keyspace))
    }
}

impl fmt::Display for Keyspace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_first() { Ok(()) } else { write!(f, "{}@{}", self.schema, self.since) }
    }
}

macro_rules! as_text {
    ($name:ident) => {
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.to_string())
            }
        }
        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(raw: String) -> Result<Self, InvalidId> {
                Self::parse(&raw)
            }
        }
        impl From<$name> for String {
            fn from(it: $name) -> String {
                it.to_string()
            }
        }
    };
}
as_text!(Schema);
as_text!(Keyspace);

impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyspace_is_read_as_it_was_written() {
        let plugin = PluginName::parse("daily-limit").expect("a name");
        let weeks = Schema::parse("per-week").expect("a schema");
        for (keyspace, alone, whole) in [
            (Keyspace::default(), "", "daily-limit"),
            (Keyspace::new(weeks, ChainRevision(7)), "per-week@7", "daily-limit/per-week@7"),
            (Keyspace::new(Schema::default(), ChainRevision(9)), "@9", "daily-limit/@9"),
        ] {
            assert_eq!(keyspace.to_string(), alone);
            assert_eq!(keyspace.of(&plugin), whole);
            assert_eq!(Keyspace::parse(alone), Ok(keyspace.clone()));
            assert_eq!(Keyspace::parse_with_plugin(whole), Ok((plugin.clone(), keyspace)));
        }
    }

    #[test]
    fn what_is_no_keyspace_is_refused() {
        for bad in ["a", "a@", "a@0", "@0", "a@07", "a@+7", "a b@7", "a@7@8", "ü@1"] {
            assert!(Keyspace::parse(bad).is_err(), "{bad:?} passed");
        }
        for bad in ["", "/", "p/", "/a@7", "P/a@7", "p/a", "p/a@7/b@8"] {
            assert!(Keyspace::parse_with_plugin(bad).is_err(), "{bad:?} passed");
        }
        assert!(Schema::parse(&"x".repeat(65)).is_err());
    }
}
