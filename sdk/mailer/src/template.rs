//! Templates of mails: a subject line and a body, with the fields of an event.
//!
//! ```text
//! Subject: {{ value.user }} is over the limit
//!
//! Dear {{ value.user }},
//! ```
//! Promises: the file is split before it is filled in, so what an event brings stays in the part it
//! was put into; a field that the event has not makes the template not fit, it never reads as empty;
//! filling in ends, in time and in size. Not here on purpose: HTML escaping (mails are plain text),
//! includes and macros (a mail is a page).

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value};
use serde_json::{Map, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use weir_client::ConsumedEvent;
use weir_sink::{Never, SinkError};

/// Work of one template, in instructions or 64 bytes: a page takes some hundreds, a long loop some
/// thousands, and this is 12 MiB and some milliseconds at most.
const FUEL: u64 = 200_000;
/// Bytes of a body: what servers take is some dozens of megabytes, what people read far less.
const BODY_BYTES_MAX: usize = 256 << 10;
/// Bytes of a subject: RFC 5322 asks for lines under 998, people for under 80.
const SUBJECT_BYTES_MAX: usize = 500;
/// Bytes of a template's file.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// How every template begins.
const SUBJECT: &str = "Subject:";

/// A template as its author wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    name: String,
    subject: String,
    body: String,
}

impl Template {
    /// Takes a text apart; `name` is for sentences about it.
    ///
    /// # Errors
    /// [`SinkError::Options`] when it does not begin with a subject and an empty line.
    pub fn parse(name: &str, text: &str) -> Result<Self, SinkError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n");
        let wrong = || {
            SinkError::Options(format!(
                "the template {name} has to begin with a line \"{SUBJECT} ...\" and an empty line \
                 behind it"
            ))
        };
        let (first, body) = text.split_once("\n\n").ok_or_else(wrong)?;
        let subject = first.strip_prefix(SUBJECT).filter(|subject| !subject.contains('\n'));
        let subject = subject.ok_or_else(wrong)?.trim().to_owned();
        Ok(Self { name: name.to_owned(), subject, body: body.to_owned() })
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`SinkError::Options`] names the file that is missing, too large or no template.
    pub fn read(path: &Path) -> Result<Self, SinkError> {
        let name = path.display().to_string();
        let cannot = |why: &dyn std::fmt::Display| {
            SinkError::Options(format!("cannot read the template {name}: {why}"))
        };
        let bytes = std::fs::metadata(path).map_err(|error| cannot(&error))?.len();
        if FILE_BYTES_MAX < bytes {
            return Err(cannot(&format!("its {bytes} bytes are too many for a mail")));
        }
        Self::parse(&name, &std::fs::read_to_string(path).map_err(|error| cannot(&error))?)
    }

    /// What is written when no template is given: a daily limit in words, anything else as it is.
    pub(crate) fn built_in() -> Vec<Self> {
        let [daily_limit, anything] = [
            include_str!("../templates/daily-limit.txt"),
            include_str!("../templates/anything.txt"),
        ];
        let parse = |(name, text)| Self::parse(name, text);
        [("daily-limit", daily_limit), ("anything", anything)]
            .map(parse)
            .into_iter()
            .flatten()
            .collect()
    }
}

/// Templates ready to be filled in.
#[derive(Debug, Clone)]
pub(crate) struct Templates {
    environment: Arc<Environment<'static>>,
    names: Vec<String>,
}

/// What a template and an event make.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) subject: String,
    pub(crate) body: String,
}

impl Templates {
    pub(crate) fn new(templates: Vec<Template>) -> Result<Self, SinkError> {
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(FUEL));
        environment.set_syntax(syntax()?);
        let mut names = Vec::new();
        for template in templates {
            let Template { name, subject, body } = template;
            for (part, source) in [(subject_of(&name), subject), (body_of(&name), body)] {
                environment.add_template_owned(part, source).map_err(|error| {
                    SinkError::Options(format!("the template {name} cannot be used: {error}"))
                })?;
            }
            names.push(name);
        }
        Ok(Self { environment: Arc::new(environment), names })
    }

    /// A template of one line that is no mail: a pattern of addresses.
    pub(crate) fn with_pattern(&self, pattern: &str) -> Result<Self, SinkError> {
        let mut environment = (*self.environment).clone();
        environment.add_template_owned(PATTERN, pattern.to_owned()).map_err(|error| {
            SinkError::Options(format!("the pattern {pattern:?} cannot be used: {error}"))
        })?;
        Ok(Self { environment: Arc::new(environment), names: self.names.clone() })
    }

    /// The pattern, filled in.
    pub(crate) fn pattern(&self, fields: &Value) -> Result<String, String> {
        self.fill(PATTERN, fields, SUBJECT_BYTES_MAX)
    }

    /// The first template that fits, filled in.
    pub(crate) fn write(&self, fields: &Value) -> Result<Written, Never> {
        let mut reasons = Vec::new();
        for name in &self.names {
            let subject = self.fill(&subject_of(name), fields, SUBJECT_BYTES_MAX);
            let body = self.fill(&body_of(name), fields, BODY_BYTES_MAX);
            match subject.and_then(|subject| Ok((subject, body?))) {
                Ok((subject, body)) => return Ok(Written { subject, body }),
                Err(why) => reasons.push(format!("{name}: {why}")),
            }
        }
        let reason = format!("no template fits this event ({})", reasons.join("; "));
        Err(Never::new("no-template", reason))
    }

    fn fill(&self, part: &str, fields: &Value, bytes_max: usize) -> Result<String, String> {
        let template = self.environment.get_template(part).map_err(|error| error.to_string())?;
        let mut page = Page { bytes: Vec::new(), bytes_max };
        template.render_captured_to(fields.clone(), &mut page).map_err(|error| {
            // Without the lines of the template around it: an error's debug text has the event's.
            match page_is_full(&error) {
                true => format!("it is over {bytes_max} bytes"),
                false => error.to_string(),
            }
        })?;
        String::from_utf8(page.bytes).map_err(|error| error.to_string())
    }
}

/// Jinja's own, but a body ends as its file does.
fn syntax() -> Result<SyntaxConfig, SinkError> {
    let built = SyntaxConfig::builder().keep_trailing_newline(true).build();
    built.map_err(|error| SinkError::Options(error.to_string()))
}

/// The name of the pattern among the templates; files have another ending.
const PATTERN: &str = "pattern";

fn subject_of(name: &str) -> String {
    format!("{name} (subject)")
}

fn body_of(name: &str) -> String {
    format!("{name} (body)")
}

/// A page of bounded size.
struct Page {
    bytes: Vec<u8>,
    bytes_max: usize,
}

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes_max < self.bytes.len() + bytes.len() {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn page_is_full(error: &minijinja::Error) -> bool {
    error.kind() == minijinja::ErrorKind::WriteFailure
}

/// Fields as templates see them.
pub(crate) fn filled(fields: &serde_json::Value) -> Value {
    Value::from(Serde(fields))
}

/// What templates may speak of. A field that the event has not, or that is no text, is not there.
/// ```text
/// value       the value, if it is JSON       text     the value, if it is text
/// key         the key, if it is text         headers  by name, those that are text
/// topic, partition, offset                   timestamp (ms), time (RFC 3339)
/// ```
pub(crate) fn fields(event: &ConsumedEvent) -> serde_json::Value {
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
    let inner = &event.event;
    let mut fields = Map::new();
    let headers = inner.headers.iter().filter_map(|header| {
        let value = text(header.value.as_deref()?)?;
        Some((header.name.clone(), json!(value)))
    });
    fields.insert("topic".to_owned(), json!(event.topic));
    fields.insert("partition".to_owned(), json!(event.partition));
    fields.insert("offset".to_owned(), json!(event.offset));
    fields.insert("timestamp".to_owned(), json!(inner.timestamp));
    let nanoseconds = i128::from(inner.timestamp.0) * 1_000_000;
    let time = OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).ok();
    let time = time.and_then(|time| time.format(&Rfc3339).ok());
    fields.insert("headers".to_owned(), json!(headers.collect::<Map<_, _>>()));
    let mut insert = |name: &str, value: Option<serde_json::Value>| {
        fields.extend(value.map(|value| (name.to_owned(), value)));
    };
    insert("time", time.map(|time| json!(time)));
    insert("key", inner.key.as_deref().and_then(text).map(|key| json!(key)));
    let value = inner.value.as_deref().unwrap_or_default();
    insert("value", serde_json::from_slice(value).ok());
    insert("text", text(value).map(|value| json!(value)));
    serde_json::Value::Object(fields)
}
