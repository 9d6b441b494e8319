//! What a component may import, and what its config must grant for it. Must refuse with words that end in the line to
//! add to the config.

use crate::capability::ALWAYS;
use crate::error::LoadError;
use crate::runtime::Granting;
use crate::spec::{Capability, Grants, PluginSpec};

/// The interface that is granted by naming clusters.
pub(crate) const OUTBOUND: &str = "outbound";

/// What `grants` grants, as an operator names it: capabilities, `outbound:CLUSTER` for each cluster that it may call, and
/// `cluster:CLUSTER` for each that it may send exchanges to.
pub(crate) fn names(grants: &Grants) -> Vec<String> {
    let capabilities = grants.capabilities.iter().map(|capability| capability.name().to_owned());
    let outbound = grants.outbound.iter().map(|cluster| format!("{OUTBOUND}:{cluster}"));
    capabilities.chain(outbound).chain(grants.clusters.iter().map(|cluster| format!("cluster:{cluster}"))).collect()
}

/// Checks the imports of a component; answers those that had to be granted, `outbound` last. The error tells all that are
/// missing at once.
pub(crate) fn check<'a>(
    imports: impl Iterator<Item = &'a str>,
    spec: &PluginSpec,
    granting: Granting,
) -> Result<Vec<&'static str>, LoadError> {
    let (mut capabilities, mut outbound, mut unknown) = (Vec::new(), false, Vec::new());
    for import in imports {
        let interface = import
            .strip_prefix("odin:plugin/")
            .and_then(|rest| rest.split_once('@'))
            .and_then(|(interface, version)| version.starts_with("0.1.").then_some(interface));
        match interface {
            Some(OUTBOUND) => outbound = true,
            Some(always) if ALWAYS.contains(&always) => {}
            Some(name) => match Capability::ALL.into_iter().find(|capability| capability.name() == name) {
                Some(capability) => capabilities.push(capability),
                None => unknown.push(format!("`{import}`")),
            },
            None => unknown.push(format!("`{import}`")),
        }
    }
    if !unknown.is_empty() {
        return Err(LoadError::UnknownImport { imports: joined(&unknown) });
    }
    let granted = &spec.grants;
    let missing: Vec<Capability> =
        capabilities.iter().copied().filter(|capability| !granted.capabilities.contains(capability)).collect();
    let no_cluster = outbound && granted.outbound.is_empty();
    if !missing.is_empty() || no_cluster {
        return Err(refusal(&missing, no_cluster, spec, granting));
    }
    let mut names: Vec<&str> = capabilities.into_iter().map(Capability::name).collect();
    names.extend(outbound.then_some(OUTBOUND));
    Ok(names)
}

/// The first of many are enough: a file may import thousands.
fn joined(names: &[String]) -> String {
    const MOST: usize = 10;
    let more = names.len().saturating_sub(MOST);
    let told = names.iter().take(MOST).cloned().collect::<Vec<_>>().join(" and ");
    if more == 0 { told } else { format!("{told} and {more} more") }
}

/// Everything that is missing, in one message with the one thing to add.
fn refusal(missing: &[Capability], no_cluster: bool, spec: &PluginSpec, granting: Granting) -> LoadError {
    let names = missing.iter().map(|capability| capability.name()).chain(no_cluster.then_some(OUTBOUND));
    let imports: Vec<String> = names.map(|name| format!("`odin:plugin/{name}`")).collect();
    let section = format!("[plugins.{}]", spec.name);
    // A key may stand there once, and a flag is for all plugins: what is granted already is named, too.
    let whole: Vec<&str> = Capability::ALL
        .iter()
        .filter(|capability| missing.contains(capability) || spec.grants.capabilities.contains(capability))
        .map(|capability| capability.name())
        .collect();
    let flag = format!("--grant {}", whole.join(","));
    let grant = format!("grant = {whole:?}");
    let clusters = "outbound = [\"CLUSTER\"]";
    let naming = "naming the clusters that it may call";
    let add = match (granting, missing, no_cluster) {
        (Granting::Flag, _, false) => flag,
        // Flags know no clusters to name.
        (Granting::Flag, [], true) => format!("a config file with {clusters} in {section}, {naming}"),
        (Granting::Flag, _, true) => format!("a config file with {grant} and {clusters} in {section}, {naming}"),
        (Granting::File, [], _) => format!("{clusters} to {section}, {naming}"),
        (Granting::File, _, false) => format!("{grant} to {section}"),
        (Granting::File, _, true) => format!("{grant} and {clusters} to {section}, {naming}"),
    };
    LoadError::NotGranted { imports: imports.join(" and "), add }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_with(imports: &[&str], grants: Grants) -> Result<Vec<&'static str>, String> {
        let names: Vec<String> = imports.iter().map(|name| format!("odin:plugin/{name}@0.1.0")).collect();
        let spec = PluginSpec { grants, ..PluginSpec::new("door") };
        check(names.iter().map(String::as_str), &spec, Granting::File).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_always_there_needs_no_grant() {
        assert_eq!(check_with(&ALWAYS, Grants::default()), Ok(Vec::new()));
    }

    #[test]
    fn what_is_not_granted_is_refused_with_the_line_to_add() {
        for capability in Capability::ALL {
            let name = capability.name();
            let refused = check_with(&["request", name], Grants::default()).unwrap_err();
            assert_eq!(
                refused,
                format!(
                    "it imports `odin:plugin/{name}`, which its config does not grant: add grant = [\"{name}\"] to \
                     [plugins.door]"
                )
            );
            let grants = Grants { capabilities: [capability].into(), ..Grants::default() };
            assert_eq!(check_with(&["request", name], grants), Ok(vec![name]));
        }
    }

    #[test]
    fn outbound_is_granted_by_naming_clusters() {
        assert_eq!(
            check_with(&["outbound"], Grants::default()).unwrap_err(),
            "it imports `odin:plugin/outbound`, which its config does not grant: add outbound = [\"CLUSTER\"] to \
             [plugins.door], naming the clusters that it may call"
        );
        let grants = Grants { outbound: vec!["auth".into()], clusters: vec!["web".into()], ..Grants::default() };
        assert_eq!(names(&grants), ["outbound:auth", "cluster:web"]);
        assert_eq!(check_with(&["outbound"], grants), Ok(vec!["outbound"]));
    }

    #[test]
    fn several_are_told_at_once_with_what_is_granted_already() {
        let grants = Grants { capabilities: [Capability::Config].into(), ..Grants::default() };
        assert_eq!(
            check_with(&["log", "config", "clock"], grants).unwrap_err(),
            "it imports `odin:plugin/log` and `odin:plugin/clock`, which its config does not grant: add grant = \
             [\"log\", \"clock\", \"config\"] to [plugins.door]"
        );
        let refused = check_with(&["log", "outbound"], Grants::default()).unwrap_err();
        assert!(refused.contains("grant = [\"log\"] and outbound = [\"CLUSTER\"]"), "{refused}");
    }

    #[test]
    fn other_names_and_versions_are_unknown() {
        let spec = PluginSpec::new("door");
        for import in ["odin:plugin/door@0.1.0", "odin:plugin/log@0.2.0", "wasi:io/poll@0.2.0", "log"] {
            let refused = check([import].into_iter(), &spec, Granting::File);
            assert_eq!(refused, Err(LoadError::UnknownImport { imports: format!("`{import}`") }));
        }
        let many: Vec<String> = (0..12).map(|number| format!("wasi:io/a{number}@0.2.0")).collect();
        let refused = check(many.iter().map(String::as_str), &spec, Granting::File).unwrap_err().to_string();
        assert!(refused.contains("`wasi:io/a9@0.2.0` and 2 more, which Odin does not offer"), "{refused}");
    }

    #[test]
    fn who_started_odin_by_flags_is_told_the_flag() {
        let with = |imports: &[&str], grants: Grants| {
            let names: Vec<String> = imports.iter().map(|name| format!("odin:plugin/{name}@0.1.0")).collect();
            let spec = PluginSpec { grants, ..PluginSpec::new("door") };
            check(names.iter().map(String::as_str), &spec, Granting::Flag).unwrap_err().to_string()
        };
        let granted = Grants { capabilities: [Capability::Config].into(), ..Grants::default() };
        assert!(with(&["log", "clock"], granted).ends_with("add --grant log,clock,config"));
        let refused = with(&["outbound"], Grants::default());
        assert!(refused.ends_with("in [plugins.door], naming the clusters that it may call"), "{refused}");
    }
}
