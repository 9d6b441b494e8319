//! What a component may import, and what its config must grant for it. Must refuse with words that end in the line to
//! add to the config.

use crate::capability::ALWAYS;
use crate::error::LoadError;
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

/// Checks the imports of a component; answers those that had to be granted, `outbound` last.
pub(crate) fn check<'a>(
    imports: impl Iterator<Item = &'a str>,
    spec: &PluginSpec,
) -> Result<Vec<&'static str>, LoadError> {
    let (mut capabilities, mut outbound) = (Vec::new(), false);
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
                None => return Err(LoadError::UnknownImport { import: import.to_owned() }),
            },
            None => return Err(LoadError::UnknownImport { import: import.to_owned() }),
        }
    }
    let granted = &spec.grants;
    let missing: Vec<Capability> =
        capabilities.iter().copied().filter(|capability| !granted.capabilities.contains(capability)).collect();
    let no_cluster = outbound && granted.outbound.is_empty();
    if !missing.is_empty() || no_cluster {
        return Err(refusal(&missing, no_cluster, spec));
    }
    let mut names: Vec<&str> = capabilities.into_iter().map(Capability::name).collect();
    names.extend(outbound.then_some(OUTBOUND));
    Ok(names)
}

/// Everything that is missing, in one message with one line to add.
fn refusal(missing: &[Capability], no_cluster: bool, spec: &PluginSpec) -> LoadError {
    let names = missing.iter().map(|capability| capability.name()).chain(no_cluster.then_some(OUTBOUND));
    let imports: Vec<String> = names.map(|name| format!("`odin:plugin/{name}`")).collect();
    let section = format!("[plugins.{}]", spec.name);
    // A key may stand there once: the line names what is granted already, too.
    let whole: Vec<String> = Capability::ALL
        .iter()
        .filter(|capability| missing.contains(capability) || spec.grants.capabilities.contains(capability))
        .map(|capability| format!("{:?}", capability.name()))
        .collect();
    let flags: Vec<String> = missing.iter().map(|capability| format!("--grant {}", capability.name())).collect();
    let grant = format!("grant = [{}]", whole.join(", "));
    let add = match (missing, no_cluster) {
        ([], _) => format!("outbound = [\"CLUSTER\"] to {section}, naming the clusters that it may call"),
        (_, false) => format!("{grant} to {section} (or {} on the command line)", flags.join(" ")),
        (_, true) => format!(
            "{grant} and outbound = [\"CLUSTER\"], naming the clusters that it may call, to {section} (for the first: or {} on the command line)",
            flags.join(" ")
        ),
    };
    LoadError::NotGranted { imports: imports.join(" and "), add }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_with(imports: &[&str], grants: Grants) -> Result<Vec<&'static str>, String> {
        let names: Vec<String> = imports.iter().map(|name| format!("odin:plugin/{name}@0.1.0")).collect();
        let spec = PluginSpec { grants, ..PluginSpec::new("door") };
        check(names.iter().map(String::as_str), &spec).map_err(|error| error.to_string())
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
                     [plugins.door] (or --grant {name} on the command line)"
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
             [\"log\", \"clock\", \"config\"] to [plugins.door] (or --grant log --grant clock on the command line)"
        );
        let refused = check_with(&["log", "outbound"], Grants::default()).unwrap_err();
        assert!(refused.contains("grant = [\"log\"] and outbound = [\"CLUSTER\"]"), "{refused}");
    }

    #[test]
    fn other_names_and_versions_are_unknown() {
        let spec = PluginSpec::new("door");
        for import in ["odin:plugin/door@0.1.0", "odin:plugin/log@0.2.0", "wasi:io/poll@0.2.0", "log"] {
            assert_eq!(check([import].into_iter(), &spec), Err(LoadError::UnknownImport { import: import.to_owned() }));
        }
    }
}
