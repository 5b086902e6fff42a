//! How commands reach the broker: through the context file that `weir serve` wrote.

use std::path::Path;

use weir_client::{Admin, Client, ClientConfig, ClientError, default_context};

use super::Failure;

/// Attempts to connect for long work, of up to five seconds each: a broker is back before that.
const CONNECT_ATTEMPTS: u32 = 4;

/// The data door of the broker that the context names.
pub async fn client(context: Option<&Path>) -> Result<Client, Failure> {
    Ok(Client::connect(config(context)?).await?)
}

/// The same for long work, which a broker that is just being started again must not end.
pub async fn patient_client(context: Option<&Path>) -> Result<Client, Failure> {
    let config = config(context)?;
    for _ in 1..CONNECT_ATTEMPTS {
        match Client::connect(config.clone()).await {
            Err(ClientError::Unreachable { .. } | ClientError::Timeout { .. }) => {}
            done => return Ok(done?),
        }
    }
    Ok(Client::connect(config).await?)
}

/// Its admin door.
pub fn admin(context: Option<&Path>) -> Result<Admin, Failure> {
    Ok(Admin::new(&config(context)?)?)
}

fn config(context: Option<&Path>) -> Result<ClientConfig, Failure> {
    let file = context.map_or_else(default_context, Path::to_owned);
    Ok(ClientConfig::from_context(file)?)
}
