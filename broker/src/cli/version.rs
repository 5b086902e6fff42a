//! A plugin's version as arguments name it.

use std::str::FromStr;

use weir_wire::ids::PluginName;

/// `NAME[@VERSION]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionChoice {
    /// The plugin.
    pub name: PluginName,
    /// A number, a digest, or the beginning of one; `None` is the newest.
    pub version: Option<String>,
}

impl FromStr for VersionChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, version) = match text.split_once('@') {
            Some((_, "")) => return Err("a version follows the @, as in daily-limit@2".to_owned()),
            Some((name, version)) => (name, Some(version.to_owned())),
            None => (text, None),
        };
        let name = PluginName::parse(name).map_err(|error| error.to_string())?;
        Ok(Self { name, version })
    }
}

/// `NAME@VERSION`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OneVersion {
    /// The plugin.
    pub name: PluginName,
    /// A number, a digest, or the beginning of one.
    pub version: String,
}

impl FromStr for OneVersion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let VersionChoice { name, version } = text.parse()?;
        let missing = || format!("name the version too, as in {name}@1");
        Ok(Self { version: version.ok_or_else(missing)?, name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_named_behind_an_at() {
        let choice = |text: &str| text.parse::<VersionChoice>();
        assert_eq!(choice("daily-limit").unwrap().version, None);
        assert_eq!(choice("daily-limit@2").unwrap().version.as_deref(), Some("2"));
        assert!(choice("daily-limit@").unwrap_err().contains("follows the @"));
        assert!(choice("Daily").unwrap_err().contains("beginning with a letter"));
        assert_eq!("a@1".parse::<OneVersion>().unwrap().version, "1");
        assert_eq!("a".parse::<OneVersion>().unwrap_err(), "name the version too, as in a@1");
    }
}
