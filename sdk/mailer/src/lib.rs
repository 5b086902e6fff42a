//! The mailer: writes one mail for each event of a topic. It is the end of the story: a plugin
//! refuses the eleventh booking, its notice waits in the log, and whenever the mailer runs, the mail
//! goes out.
//!
//! ```text
//! event ─▶ letter: recipient, template ─▶ mail ─▶ smtp: connect, TLS, password, send ─▶ outcome
//! ```
//! Promises: an event counts as done when the SMTP server has taken its mail; a mail that is sent
//! again has the same Message-ID. No event can add a header, a recipient or another mail.
//! Not here: what becomes of an outcome, and when; that is `weir-sink`. On purpose: attachments,
//! HTML, more than one recipient (each event is one person's).
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests"))]

mod mailer;
pub mod loopback;
mod smtp;
mod letter;
mod template;

pub use letter::Recipient;
pub use mailer::{Mailer, MailerOptions};
pub use smtp::{Credentials, Security, SmtpServer};
pub use template::Template;
pub use weir_sink::{Report, Secret, Sink, SinkError, SinkOptions, Undeliverable};
