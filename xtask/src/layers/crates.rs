//! Who may depend on whom among the workspace's crates.

/// Each crate with those it may name in its Cargo.toml, in the order of the road.
const MAY_DEPEND_ON: &[(&str, &[&str])] = &[
    // Measures from outside; what a plugin's call costs it measures without a broker.
    ("weir-bench", &["weir-client", "weir-plugin-host", "weir-wire"]),
    (
        "weir-tests",
        &[
            "weir",
            "weir-client",
            "weir-mailer",
            "weir-sink",
            "weir-partition",
            "weir-plugin",
            "weir-plugin-host",
            "weir-views",
            "weir-log",
            "weir-wire",
        ],
    ),
    ("weir-parts", &["weir-partition", "weir-plugin-host", "weir-views", "weir-log", "weir-wire"]),
    // Client and mailer are for the command line and the demo alone: see `rooms`.
    (
        "weir",
        &[
            "weir-client",
            "weir-mailer",
            "weir-sink",
            "weir-partition",
            "weir-plugin-host",
            "weir-views",
            "weir-log",
            "weir-wire",
        ],
    ),
    ("weir-partition", &["weir-plugin-host", "weir-views", "weir-log", "weir-wire"]),
    ("weir-plugin-host", &["weir-wire"]),
    ("weir-views", &["weir-log", "weir-wire"]),
    ("weir-log", &["weir-wire"]),
    ("weir-mailer", &["weir-sink", "weir-client", "weir-wire"]),
    ("weir-webhook", &["weir-sink", "weir-client", "weir-wire"]),
    ("weir-sink", &["weir-client", "weir-wire"]),
    ("weir-client", &["weir-wire"]),
    ("weir-wire", &[]),
    ("weir-plugin", &[]),
    ("xtask", &[]),
];

/// What a Cargo.toml says against the table. `path` is for the sentence.
pub fn check(path: &str, manifest: &str) -> Vec<String> {
    let Some(name) = package_name(manifest) else {
        return vec![format!("{path}: no package name; give it one")];
    };
    let Some((_, allowed)) = MAY_DEPEND_ON.iter().find(|(krate, _)| *krate == name) else {
        return vec![format!(
            "{path}: {name} has no place in the road yet; add it to the table in xtask/src/layers/crates.rs"
        )];
    };
    let is_ours = |dependency: &str| MAY_DEPEND_ON.iter().any(|(krate, _)| *krate == dependency);
    dependencies(manifest)
        .filter(|(_, dependency)| is_ours(dependency) && !allowed.contains(dependency))
        .map(|(line, dependency)| {
            format!(
                "{path}:{line}: {name} may not depend on {dependency}, only on [{}]",
                allowed.join(", ")
            )
        })
        .collect()
}

fn package_name(manifest: &str) -> Option<&str> {
    let value = manifest.lines().find_map(|line| line.strip_prefix("name = "))?;
    Some(value.trim_matches('"'))
}

/// Line and name of every dependency, whatever kind it is and for whichever target.
fn dependencies(manifest: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_list = false;
    manifest.lines().enumerate().filter_map(move |(index, line)| {
        if let Some(section) = line.trim().strip_prefix('[') {
            let section = section.trim_end_matches(']');
            is_list = section.ends_with("dependencies");
            // `[dependencies.name]` is a dependency of its own.
            return section.rsplit_once("dependencies.").map(|(_, name)| (index + 1, name));
        }
        let name = line.split(['=', '.', ' ']).next()?.trim();
        (is_list && !name.is_empty() && !name.starts_with('#')).then_some((index + 1, name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_one(manifest: &str, expected: &[&str]) {
        assert_eq!(check("x/Cargo.toml", manifest), expected, "{manifest}");
    }

    #[test]
    fn the_road_leads_one_way() {
        check_one(
            "[package]\nname = \"weir-views\"\n[dependencies]\nweir-log.workspace = true\nsled = \"1\"",
            &[],
        );
        check_one(
            "[package]\nname = \"weir-log\"\n[dependencies]\nweir-views.workspace = true",
            &["x/Cargo.toml:4: weir-log may not depend on weir-views, only on [weir-wire]"],
        );
        check_one(
            "[package]\nname = \"weir-wire\"\n[dev-dependencies]\nweir-log = { path = \"..\" }",
            &["x/Cargo.toml:4: weir-wire may not depend on weir-log, only on []"],
        );
        check_one(
            "[package]\nname = \"weir-client\"\n[target.'cfg(unix)'.dependencies.weir]\nworkspace = true",
            &["x/Cargo.toml:3: weir-client may not depend on weir, only on [weir-wire]"],
        );
    }

    #[test]
    fn a_new_crate_must_take_its_place() {
        check_one(
            "[package]\nname = \"weir-utils\"",
            &[
                "x/Cargo.toml: weir-utils has no place in the road yet; add it to the table in xtask/src/layers/crates.rs",
            ],
        );
    }
}
