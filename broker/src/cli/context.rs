//! How commands reach the broker: through the context file that `weir serve` wrote.

use std::path::Path;

use weir_client::{Admin, Client, ClientConfig, default_context};

use super::Failure;

/// The data door of the broker that the context names.
pub async fn client(context: Option<&Path>) -> Result<Client, Failure> {
    Ok(Client::connect(config(context)?).await?)
}

/// Its admin door.
pub fn admin(context: Option<&Path>) -> Result<Admin, Failure> {
    Ok(Admin::new(&config(context)?)?)
}

fn config(context: Option<&Path>) -> Result<ClientConfig, Failure> {
    let file = context.map_or_else(default_context, Path::to_owned);
    Ok(ClientConfig::from_context(file)?)
}
