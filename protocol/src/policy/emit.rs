//! The body that a joined document has, the same bytes on every device.

use std::collections::BTreeMap;

use super::FieldPolicy;
use super::doc::{Doc, Field, Many, Payload, Reg};
use super::json;
use super::parts::{Policies, others_of, set_rank};

/// Writes the body: fields in the order of their names, values as their
/// authors wrote them.
pub(crate) fn emit(policies: Policies<'_>, doc: &Doc<'_>) -> Vec<u8> {
    let mut fields = BTreeMap::new();
    for (name, field) in doc {
        match field {
            Field::One(Reg { value: Some(value), .. }) => {
                drop(fields.insert(name.clone(), value.raw.to_owned()))
            }
            Field::Best(best) => {
                fields.extend(best.value.as_ref().map(|value| (name.clone(), value.raw.to_owned())));
            }
            Field::Count(count) if count.present => {
                fields.insert(name.clone(), count.sum().to_string());
            }
            Field::One(_) | Field::Count(_) => {}
            Field::Many(many) => emit_many(policies.of(name), name, many, &mut fields),
        }
    }
    object(fields.iter().map(|(name, raw)| (name.as_str(), raw.as_str()))).into_bytes()
}

fn emit_many(policy: &FieldPolicy, name: &str, many: &Many<'_>, fields: &mut BTreeMap<String, String>) {
    let live = || many.items.iter().filter_map(|(id, reg)| Some((id, reg.time, reg.value?)));
    let mut values: Vec<Payload<'_>> = live().map(|(_, _, value)| value).collect();
    if values.is_empty() && !many.present {
        return;
    }
    let text = match policy {
        FieldPolicy::Map => {
            let named = live().filter_map(|(id, _, value)| Some((str::from_utf8(id).ok()?, value.raw)));
            object(named)
        }
        FieldPolicy::Append { .. } => {
            let mut ordered: Vec<_> = live().map(|(id, _, value)| (value.born, id, value.raw)).collect();
            ordered.sort();
            array(ordered.into_iter().map(|(_, _, raw)| raw))
        }
        FieldPolicy::KeepBoth => {
            let Some((_, stands)) = live().map(|(_, time, value)| (time, value)).max() else { return };
            values.retain(|value| *value != stands);
            if !values.is_empty() {
                fields.insert(others_of(name), set(&values, None));
            }
            stands.raw.to_owned()
        }
        FieldPolicy::SetUnion { by } => set(&values, by.as_deref()),
        // These have no elements.
        FieldPolicy::Lww
        | FieldPolicy::Max
        | FieldPolicy::Min
        | FieldPolicy::Longest
        | FieldPolicy::Counter => return,
    };
    fields.insert(name.to_owned(), text);
}

fn set(values: &[Payload<'_>], by: Option<&str>) -> String {
    let mut ranked: Vec<_> = values.iter().map(|value| set_rank(value.raw, by)).collect();
    ranked.sort();
    array(ranked.into_iter().map(|(_, raw)| raw))
}

fn array<'a>(values: impl Iterator<Item = &'a str>) -> String {
    format!("[{}]", values.collect::<Vec<_>>().join(","))
}

fn object<'a>(fields: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let fields: Vec<_> = fields.map(|(name, raw)| format!("{}:{raw}", json::quoted(name))).collect();
    format!("{{{}}}", fields.join(","))
}
