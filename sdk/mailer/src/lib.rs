//! The mailer: writes one mail for each notice of a topic. A first service on the client SDK, and
//! the end of the story: a plugin refuses the eleventh booking, its notice waits in the log, and
//! whenever the mailer runs, the mail goes out.
//!
//! Promises: at least once: a notice counts as done when the SMTP server has taken its mail; a
//! mail sent again has the same Message-ID. A server that is away is waited for, an address that
//! is none is skipped and counted. Not here on purpose: TLS and authentication towards the SMTP
//! server (it is meant to be a relay on the same machine), templates, a dead-letter topic.

mod mailer;
mod letter;
pub mod loopback;

pub use letter::Addresses;
pub use mailer::{Mailer, MailerError, MailerOptions, Report};
