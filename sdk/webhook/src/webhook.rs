//! What "deliver" means for a webhook.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use weir_client::ConsumedEvent;
use weir_sink::{Deliver, Never, Outcome, SinkError};

use crate::post::{Post, Target};
use crate::request::Request;
use crate::signature::SigningSecrets;

/// Where events are posted to, and how.
#[derive(Debug, Clone)]
pub struct WebhookOptions {
    /// The receiver.
    pub target: Target,
    /// What requests are signed with.
    pub secrets: SigningSecrets,
    /// Who may vouch for the receiver, PEM; `None`: whom the machine trusts.
    pub ca_file: Option<PathBuf>,
    /// From the first byte out to the status in.
    pub attempt_timeout: Duration,
}

/// Posts each event. Run it with [`Sink`](weir_sink::Sink).
#[derive(Debug)]
pub struct Webhook {
    post: Post,
    secrets: SigningSecrets,
}

impl Webhook {
    /// Checks the options; nothing is sent yet.
    ///
    /// # Errors
    /// [`SinkError::Options`] when nobody can be trusted.
    pub fn new(options: WebhookOptions) -> Result<Self, SinkError> {
        let WebhookOptions { target, secrets, ca_file, attempt_timeout } = options;
        let post = Post::new(target, ca_file.as_deref(), attempt_timeout)?;
        Ok(Self { post, secrets })
    }
}

impl Deliver for Webhook {
    type Parcel = Request;

    fn prepare(&self, event: &ConsumedEvent) -> Result<Request, Never> {
        Request::new(event)
    }

    async fn attempt(&self, request: &Request) -> Outcome {
        // Of this attempt, as the specification wants it: receivers refuse old ones.
        let now = SystemTime::now();
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let signed = request.signed(&self.secrets, since.as_secs());
        self.post.send(&signed, request.body.clone(), now).await
    }
}
