//! What the store has to know of domains.

use std::collections::BTreeMap;
use std::sync::Arc;

use kinsync_protocol::declaration::{Declaration, Guard};
use kinsync_protocol::hash;
use kinsync_protocol::id::DomainId;
use kinsync_store::Rules;

use super::{DECLARATIONS, Domain, Domains, fields};

/// The rules of all declared domains, and of the declarations themselves.
pub(super) fn of(domains: &Domains) -> BTreeMap<DomainId, Rules> {
    let rules = domains.all().iter().map(|domain| (domain.id(), rules(domain)));
    // No record is lost with a declaration, and one that widens what there is
    // waits for a person anyway.
    let declarations = Rules { guard: Guard { records: 0, percent: 0 }, ..Rules::default() };
    rules.chain([(DomainId::of(DECLARATIONS), declarations)]).collect()
}

fn rules(domain: &Arc<Domain>) -> Rules {
    let declaration = &domain.declaration;
    let checked = Arc::clone(domain);
    let check = move |schema: u32, body: &[u8]| {
        let declaration = &checked.declaration;
        let today = fields::migrated(declaration, body, schema, declaration.schema);
        checked.check(today.as_deref().unwrap_or(body))
    };
    Rules {
        policy: declaration.merge_policy(),
        schema: declaration.schema,
        reads: declaration.reads,
        parent: declaration.parent.as_deref().map(DomainId::of),
        scope: declaration.scope,
        guard: declaration.guard,
        check: declaration.value.is_some().then(|| Arc::new(check) as _),
        revision: revision(declaration),
    }
}

/// Another number for everything that decides what fits.
fn revision(declaration: &Declaration) -> u64 {
    let Declaration { schema, reads, parent, value, migrate, .. } = declaration;
    let said = serde_json::to_vec(&(schema, reads, parent, value, migrate)).unwrap_or_default();
    let digest = hash::tagged("kinsync/rules/1", &[&said]);
    let number = digest.first_chunk().map_or(1, |bytes| u64::from_be_bytes(*bytes));
    // Zero stands for no rules.
    number.max(1)
}
