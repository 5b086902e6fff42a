//! The value of a side event, built from the event's: JSON of the operator's own, in which
//! `{"$from":…}` stands for what is to be filled in.

use std::fmt::Write;

use parts::json::{Path, RawValue};
use serde_json::Value;
use weir_plugin::{Event, context};

/// A value with blanks: text, blank, text, blank, ..., text.
#[derive(Debug, Default)]
pub struct Template(Vec<Piece>);

#[derive(Debug)]
enum Piece {
    Text(String),
    Blank(Filling),
}

/// Where a blank's filling is found.
#[derive(Debug)]
enum Filling {
    /// As it was written there; null if nothing is there.
    Path(Path),
    Key,
    Timestamp,
    Topic,
    Publisher,
    Now,
}

const FROM: &str = "$from";

impl Template {
    /// Reads a value with blanks.
    pub fn parse(said: &Value) -> Result<Template, String> {
        let mut template = Template::default();
        template.add(said)?;
        Ok(template)
    }

    fn add(&mut self, said: &Value) -> Result<(), String> {
        match said {
            Value::Object(fields) if fields.contains_key(FROM) => {
                if fields.len() > 1 {
                    return Err(
                        r#""$from" must stand alone in its object, as {"$from":"/user"}"#.into()
                    );
                }
                self.0.push(Piece::Blank(Filling::parse(&fields[FROM])?));
            }
            Value::Object(fields) => {
                for (place, (name, value)) in fields.iter().enumerate() {
                    self.text(if place == 0 { "{" } else { "," });
                    self.text(&Value::from(name.as_str()).to_string());
                    self.text(":");
                    self.add(value)?;
                }
                self.text(if fields.is_empty() { "{}" } else { "}" });
            }
            Value::Array(elements) => {
                for (place, element) in elements.iter().enumerate() {
                    self.text(if place == 0 { "[" } else { "," });
                    self.add(element)?;
                }
                self.text(if elements.is_empty() { "[]" } else { "]" });
            }
            scalar => self.text(&scalar.to_string()),
        }
        Ok(())
    }

    fn text(&mut self, more: &str) {
        match self.0.last_mut() {
            Some(Piece::Text(text)) => text.push_str(more),
            _ => self.0.push(Piece::Text(more.into())),
        }
    }

    /// The value for an event; `root` is the event's own, if it is JSON.
    pub fn fill(&self, event: &Event, root: Option<&RawValue>) -> String {
        let mut value = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => value.push_str(text),
                Piece::Blank(from) => from.write(event, root, &mut value),
            }
        }
        value
    }
}

impl Filling {
    fn parse(said: &Value) -> Result<Filling, String> {
        match said.as_str() {
            Some("key") => Ok(Filling::Key),
            Some("timestamp") => Ok(Filling::Timestamp),
            Some("topic") => Ok(Filling::Topic),
            Some("publisher") => Ok(Filling::Publisher),
            Some("now") => Ok(Filling::Now),
            said => said.and_then(Path::parse).map(Filling::Path).ok_or_else(|| {
                r#""$from" must be a JSON pointer that begins with "/", or "key", "timestamp", "topic", "publisher" or "now""#.into()
            }),
        }
    }

    fn write(&self, event: &Event, root: Option<&RawValue>, to: &mut String) {
        let _ = match self {
            Filling::Path(path) => {
                to.push_str(root.and_then(|root| path.find(root)).map_or("null", RawValue::get));
                Ok(())
            }
            Filling::Key => match &event.key {
                Some(key) => write!(to, "{}", Value::from(String::from_utf8_lossy(key))),
                None => write!(to, "null"),
            },
            Filling::Timestamp => write!(to, "{}", event.timestamp),
            Filling::Topic => write!(to, "{}", Value::from(context::topic())),
            Filling::Publisher => write!(to, "{}", Value::from(context::publisher())),
            Filling::Now => write!(to, "{}", context::now()),
        };
    }
}
