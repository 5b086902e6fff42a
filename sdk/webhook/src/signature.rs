//! Signatures per the Standard Webhooks specification, version 1: HMAC-SHA256 over
//! `id.timestamp.body`, in base64 behind `v1,`; one for each secret, with a space between, so that a
//! receiver can change from one to the next while both are in use.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use weir_sink::Secret;

/// How secrets are written down.
const PREFIX: &str = "whsec_";
/// Bytes of a secret: the specification's bounds.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// Secrets at a time: two while one replaces the other, and some to spare.
const SECRETS_MAX: usize = 8;

/// What requests are signed with. `Debug` hides it.
#[derive(Clone)]
pub struct SigningSecrets(Vec<hmac::Key>);

/// Why there are no signing secrets. The sentence says what to do, and not what the secret is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidSigningSecret(String);

impl SigningSecrets {
    /// Reads secrets with white space between them.
    ///
    /// # Errors
    /// [`InvalidSigningSecret`] for none, too many, or one that is not as it should be.
    pub fn parse(secrets: &Secret) -> Result<Self, InvalidSigningSecret> {
        let words: Vec<_> = secrets.reveal().split_whitespace().collect();
        if !(1..=SECRETS_MAX).contains(&words.len()) {
            let count = words.len();
            let sentence =
                format!("there have to be 1 to {SECRETS_MAX} signing secrets, not {count}");
            return Err(InvalidSigningSecret(sentence));
        }
        let key = |(number, word): (usize, &&str)| {
            let bytes = word.strip_prefix(PREFIX).and_then(|text| STANDARD.decode(text).ok());
            let bytes = bytes.filter(|bytes| SECRET_BYTES.contains(&bytes.len()));
            let bytes = bytes.ok_or_else(|| {
                InvalidSigningSecret(format!(
                    "signing secret {} is none: write {PREFIX} and 24 to 64 random bytes in base64, \
                     as `echo {PREFIX}$(head -c 32 /dev/urandom | base64)` makes them",
                    number + 1
                ))
            })?;
            Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
        };
        words.iter().enumerate().map(key).collect::<Result<_, _>>().map(Self)
    }

    /// The value of `webhook-signature`.
    pub(crate) fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let head = format!("{id}.{timestamp}.");
        let signature = |key| {
            let mut context = hmac::Context::with_key(key);
            context.update(head.as_bytes());
            context.update(body);
            format!("v1,{}", STANDARD.encode(context.sign()))
        };
        self.0.iter().map(signature).collect::<Vec<_>>().join(" ")
    }
}

impl fmt::Debug for SigningSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningSecrets({} hidden)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn a_signature_is_as_the_specifications_example_has_it() {
        let secrets = SigningSecrets::parse(&Secret::new(SECRET)).unwrap();
        let (id, body) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", br#"{"test": 2432232314}"#);
        assert_eq!(
            secrets.sign(id, 1_614_265_330, body),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn wrong_secrets_are_refused_and_never_shown() {
        let long = format!("whsec_{}", STANDARD.encode([7; 65]));
        let many = [SECRET; 9].join(" ");
        for text in ["", "whsec_", "hunter2hunter2", "whsec_c2hvcnQ=", "whsec_%", &long, &many] {
            let error = SigningSecrets::parse(&Secret::new(text)).unwrap_err().to_string();
            assert!(!error.contains("hunter2") && !error.contains("c2hvcnQ"), "{error}");
        }
        let both = SigningSecrets::parse(&Secret::new(&format!("{SECRET}\n{SECRET}\n"))).unwrap();
        assert_eq!(both.sign("a", 1, b"b").split(' ').count(), 2);
        assert_eq!(format!("{both:?}"), "SigningSecrets(2 hidden)");
    }
}
