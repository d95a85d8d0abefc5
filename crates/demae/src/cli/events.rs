//! `demae events`.

use demae_event::catalogue::{self, EventDefinition};
use serde_json::{Value, json};

use super::output::{self, Table};

/// Print the catalogue of events
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this one (name or type), with schema and example
    event: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    if let Some(name) = &args.event {
        let event = find(name)?;
        return Ok(output::json(&document(event))?);
    }
    let events = catalogue::all().iter().chain(catalogue::operational());
    if args.json {
        return Ok(output::json(&events.map(document).collect())?);
    }
    let mut table = Table::new(&["NAME", "ALSO", "TYPE", "DOMAIN", "MEANING"]);
    for event in events {
        let also = if event.later_name == event.name {
            "-"
        } else {
            event.later_name
        };
        table.row(
            [
                event.name,
                also,
                event.event_type,
                &event.domain.to_string(),
                event.description,
            ]
            .map(str::to_owned),
        );
    }
    Ok(table.print("no events")?)
}

/// The event of this name or type, or a message that names the nearest.
pub(crate) fn find(name: &str) -> anyhow::Result<&'static EventDefinition> {
    catalogue::find(name)
        .or_else(|| catalogue::find(&name.to_ascii_uppercase()))
        .ok_or_else(|| {
            let wanted = name.to_ascii_uppercase();
            let nearest = catalogue::all()
                .iter()
                .flat_map(|event| [event.name, event.later_name])
                .max_by(|a, b| strsim::jaro_winkler(a, &wanted).total_cmp(&strsim::jaro_winkler(b, &wanted)));
            anyhow::anyhow!(
                "there is no event {name}\ndid you mean {}? `demae events` lists all",
                nearest.unwrap_or_default()
            )
        })
}

fn document(event: &EventDefinition) -> Value {
    json!({
        "name": event.name,
        "laterName": event.later_name,
        "type": event.event_type,
        "domain": event.domain,
        "description": event.description,
        "schema": event.schema(),
        "example": event.example(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_every_form_of_a_name_and_suggests_the_nearest() {
        for name in [
            "CUSTOMER_CREATION",
            "customer_created",
            "com.kaiten.customer.v1.created",
        ] {
            assert_eq!(find(name).unwrap().name, "CUSTOMER_CREATION");
        }
        let error = find("CUSTOMER_CREATE").unwrap_err().to_string();
        assert!(error.contains("did you mean CUSTOMER_CREATED?"), "{error}");
    }
}
