//! `deny.toml`, enforced off line: who may depend on what, the lowest versions, licences, sources.
//!
//! The file is written for cargo-deny, which compiles for minutes and whose advisory half needs a network.
//! This test reads the same lines, and refuses a line that it would not enforce.

use std::collections::BTreeSet;
use std::path::Path;

use cargo_metadata::{Metadata, MetadataCommand};
use semver::{Version, VersionReq};
use serde::Deserialize;
use spdx::{Expression, Licensee, ParseMode};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Rules {
    graph: Graph,
    licenses: Licenses,
    sources: Sources,
    bans: Bans,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Graph {
    targets: Vec<String>,
    all_features: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Licenses {
    allow: Vec<String>,
    exceptions: Vec<LicenseException>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct LicenseException {
    #[serde(rename = "crate")]
    spec: Spec,
    allow: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Sources {
    unknown_registry: Deny,
    unknown_git: Deny,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Bans {
    multiple_versions: Allow,
    wildcards: Deny,
    allow_wildcard_paths: bool,
    deny: Vec<Ban>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Ban {
    #[serde(rename = "crate")]
    spec: Spec,
    #[serde(default)]
    wrappers: BTreeSet<String>,
    reason: String,
}

/// The one lint level that this test can honour where a rule must hold.
#[derive(Debug, Deserialize)]
enum Deny {
    #[serde(rename = "deny")]
    Deny,
}

/// The one lint level that this test can honour where there is no rule.
#[derive(Debug, Deserialize)]
enum Allow {
    #[serde(rename = "allow")]
    Allow,
}

/// A crate by name, or by name and versions: `yamux@<0.13.10`.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Spec {
    name: String,
    versions: VersionReq,
}

impl TryFrom<String> for Spec {
    type Error = semver::Error;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let (name, versions) = text.split_once('@').unwrap_or((&text, "*"));
        Ok(Self { name: name.to_owned(), versions: VersionReq::parse(versions)? })
    }
}

impl Spec {
    fn matches(&self, package: &Package) -> bool {
        // A pre-release of a banned version is no better than the version.
        let version = Version { pre: semver::Prerelease::EMPTY, ..package.version.clone() };
        self.name == package.name && self.versions.matches(&version)
    }
}

/// What the rules look at in one package of the lock file.
#[derive(Clone, Debug)]
struct Package {
    name: String,
    version: Version,
    license: Option<String>,
    /// `None` for a package of this workspace.
    source: Option<String>,
    /// The packages that name this one in their manifest.
    dependents: BTreeSet<String>,
    /// Its own dependencies that accept every version.
    wildcards: Vec<String>,
}

const CRATES_IO: &str = "crates.io";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace")
}

fn rules() -> Rules {
    let text = std::fs::read_to_string(root().join("deny.toml")).unwrap();
    toml::from_str(&text).unwrap_or_else(|error| panic!("deny.toml: {error}"))
}

fn packages(graph: &Graph) -> Vec<Package> {
    let mut options = vec!["--offline".to_owned(), "--locked".to_owned()];
    options.extend(graph.targets.iter().map(|target| format!("--filter-platform={target}")));
    if graph.all_features {
        options.push("--all-features".to_owned());
    }
    let metadata = MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .other_options(options)
        .exec()
        .unwrap_or_else(|error| {
            panic!("needs every crate of Cargo.lock: run `cargo fetch --locked`\n{error}")
        });
    describe(&metadata)
}

fn describe(metadata: &Metadata) -> Vec<Package> {
    let nodes = &metadata.resolve.as_ref().expect("asked with dependencies").nodes;
    let describe = |package: &cargo_metadata::Package| Package {
        name: package.name.to_string(),
        version: package.version.clone(),
        license: package.license.clone(),
        source: package
            .source
            .as_ref()
            .map(|source| if source.is_crates_io() { CRATES_IO.to_owned() } else { source.repr.clone() }),
        dependents: nodes
            .iter()
            .filter(|node| node.deps.iter().any(|dependency| dependency.pkg == package.id))
            .map(|node| metadata[&node.id].name.to_string())
            .collect(),
        wildcards: package
            .dependencies
            .iter()
            .filter(|dependency| dependency.req == VersionReq::STAR && dependency.path.is_none())
            .map(|dependency| dependency.name.clone())
            .collect(),
    };
    let resolved: BTreeSet<_> = nodes.iter().map(|node| &node.id).collect();
    metadata.packages.iter().filter(|package| resolved.contains(&package.id)).map(describe).collect()
}

/// Every breach of `rules`, one line each.
fn breaches(rules: &Rules, packages: &[Package]) -> Vec<String> {
    let mut found = Vec::new();
    for package in packages {
        let Package { name, version, .. } = package;
        for ban in rules.bans.deny.iter().filter(|ban| ban.spec.matches(package)) {
            if ban.wrappers.is_empty() {
                found.push(format!("{name} {version} is banned: {}", ban.reason));
            }
            for dependent in package.dependents.difference(&ban.wrappers).filter(|_| !ban.wrappers.is_empty())
            {
                found.push(format!("{dependent} may not depend on {name}: {}", ban.reason));
            }
        }
        found.extend(license_breach(&rules.licenses, package));
        let Sources { unknown_registry: Deny::Deny, unknown_git: Deny::Deny } = &rules.sources;
        if let Some(source) = package.source.as_deref().filter(|source| *source != CRATES_IO) {
            found.push(format!("{name} {version} comes from an unknown source: {source}"));
        }
        let Bans { wildcards: Deny::Deny, multiple_versions: Allow::Allow, .. } = &rules.bans;
        assert!(rules.bans.allow_wildcard_paths, "paths inside the workspace carry no version here");
        if package.source.is_none() {
            let open = package.wildcards.iter();
            found.extend(open.map(|dependency| format!("{name} accepts every version of {dependency}")));
        }
    }
    found
}

fn license_breach(rules: &Licenses, package: &Package) -> Option<String> {
    let Package { name, version, .. } = package;
    let Some(license) = &package.license else {
        return Some(format!("{name} {version} states no licence"));
    };
    let excepted = rules.exceptions.iter().filter(|exception| exception.spec.matches(package));
    let allowed: Vec<_> = rules
        .allow
        .iter()
        .chain(excepted.flat_map(|exception| &exception.allow))
        .map(|text| {
            Licensee::parse(text).unwrap_or_else(|error| panic!("deny.toml, licence {text}: {error}"))
        })
        .collect();
    let accepted = Expression::parse_mode(license, ParseMode::LAX).is_ok_and(|expression| {
        expression.evaluate(|wanted| allowed.iter().any(|ours| ours.satisfies(wanted)))
    });
    (!accepted).then(|| format!("{name} {version} has a licence that is not on the list: {license}"))
}

#[test]
fn the_lock_file_keeps_to_deny_toml() {
    let rules = rules();
    let breaches = breaches(&rules, &packages(&rules.graph));
    assert!(
        breaches.is_empty(),
        "\n{}\nThe rules and their reasons stand in deny.toml.",
        breaches.join("\n")
    );
}

#[test]
fn each_kind_of_breach_is_found() {
    let rules = rules();
    let clean = packages(&rules.graph);
    let known = breaches(&rules, &clean);
    let found_after = |name: &str, doctor: &dyn Fn(&mut Package)| {
        let mut doctored = clean.clone();
        doctor(doctored.iter_mut().find(|package| package.name == name).expect("in the lock file"));
        let mut found = breaches(&rules, &doctored);
        found.retain(|breach| !known.contains(breach));
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    };

    let found =
        found_after("libp2p", &|package| assert!(package.dependents.insert("kinsync-protocol".to_owned())));
    assert!(found.starts_with("kinsync-protocol may not depend on libp2p: "), "{found}");
    let found =
        found_after("tokio", &|package| assert!(package.dependents.insert("kinsync-store".to_owned())));
    assert!(found.starts_with("kinsync-store may not depend on tokio: "), "{found}");
    let found = found_after("redb", &|package| assert!(package.dependents.insert("kinsync-cli".to_owned())));
    assert!(found.starts_with("kinsync-cli may not depend on redb: "), "{found}");
    let found = found_after("yamux", &|package| package.version = Version::new(0, 13, 9));
    assert!(found.starts_with("yamux 0.13.9 is banned: CVE-2026-32314"), "{found}");
    let found = found_after("quinn-proto", &|package| package.version = Version::new(0, 11, 14));
    assert!(found.starts_with("quinn-proto 0.11.14 is banned: "), "{found}");
    let found = found_after("redb", &|package| package.license = Some("GPL-3.0-only".to_owned()));
    assert!(found.ends_with("not on the list: GPL-3.0-only"), "{found}");
    let found = found_after("redb", &|package| package.license = Some("MIT AND SSPL-1.0".to_owned()));
    assert!(found.ends_with("not on the list: MIT AND SSPL-1.0"), "{found}");
    let found = found_after("redb", &|package| package.license = None);
    assert!(found.ends_with("states no licence"), "{found}");
    let found = found_after("redb", &|package| package.source = Some("git+elsewhere".to_owned()));
    assert!(found.ends_with("comes from an unknown source: git+elsewhere"), "{found}");
    let found = found_after("kinsync", &|package| package.wildcards.push("serde".to_owned()));
    assert_eq!(found, "kinsync accepts every version of serde");
}

#[test]
fn a_rule_that_would_not_be_enforced_is_refused() {
    let text = std::fs::read_to_string(root().join("deny.toml")).unwrap();
    let relaxed = text.replace("unknown-git = \"deny\"", "unknown-git = \"warn\"");
    assert!(toml::from_str::<Rules>(&relaxed).is_err());
    let extended = text.replace("[bans]", "[bans]\nskip-tree = [\"syn\"]");
    assert!(toml::from_str::<Rules>(&extended).is_err());
    assert_ne!(text, relaxed);
    assert_ne!(text, extended);
}

/// The lowest safe versions are stated for every crate whose holes we know.
#[test]
fn the_lowest_safe_versions_are_stated() {
    let rules = rules();
    for (name, hole, safe) in [
        ("yamux", (0, 13, 9), (0, 13, 10)),
        ("quinn-proto", (0, 11, 14), (0, 11, 15)),
        ("hickory-proto", (0, 26, 0), (0, 26, 1)),
        ("libp2p-rendezvous", (0, 17, 9), (0, 18, 0)),
        ("libp2p-core", (0, 31, 0), (0, 31, 1)),
    ] {
        let banned = |(major, minor, patch)| {
            let version = Version::new(major, minor, patch);
            let mut of_that_name = rules.bans.deny.iter().filter(|ban| ban.spec.name == name);
            of_that_name.any(|ban| ban.spec.versions.matches(&version))
        };
        assert!(banned(hole), "{name} {hole:?} has a known hole");
        assert!(!banned(safe), "{name} {safe:?} is fine");
    }
}
