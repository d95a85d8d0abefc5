//! `demae dead-letters`: what could not become an event, wherever it lies.
//!
//! Two places: Demae's table of rejected events (from Dapr, other databases, Svix), whose entries have a UUID, and the
//! broker's dead-letter queue, whose entries are called `broker:…`. Redriving puts an event where it would have gone, and
//! only then takes it out of where it lies: it may be there twice for a moment, and its id tells.

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    time::Duration,
};

use anyhow::{Context as _, bail};
use demae_broker::{Broker as _, DeadLetter, DeadLetters, Verdict};
use demae_cdc::{
    envelope::{self, Envelope},
    mapping::reserved,
};
use demae_event::{Timestamp, catalogue};
use demae_store::{
    Store,
    repository::{Page, applications, rejected},
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    local,
    output::{self, Table, cell},
    settings::SettingsArgs,
};
use crate::{
    config::Mode,
    relay::{broker, unknown_scope},
};

/// Letters of the broker looked at by one command.
const LETTERS: u64 = 10_000;
/// For everything that is asked of the broker.
const BROKER_LIMIT: Duration = Duration::from_mins(1);
/// What the broker's letters are called.
const BROKER: &str = "broker:";

/// What could not become an event: rejected events, and the broker's dead letters
///
/// Opens the database, and the broker if `broker_url` is set; give it the server's settings.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    settings: SettingsArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// The last of each place
    ///
    /// Counts as looking at all of them: a source that stopped because nobody had goes on.
    List {
        /// At most so many of each place
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// One, with what arrived
    Show {
        /// As `list` names it
        id: String,
    },
    /// Try again: back to the queue, or into the outbox if it can be read as an event now
    Redrive(Which),
    /// Forget for good
    Discard(Which),
}

#[derive(Debug, clap::Args)]
struct Which {
    /// As `list` names them
    #[arg(required_unless_present = "all")]
    ids: Vec<String>,
    /// All of them
    #[arg(long, conflicts_with = "ids")]
    all: bool,
}

impl Which {
    fn names(&self, id: &str) -> bool {
        self.all || self.ids.iter().any(|named| named == id)
    }
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let settings = args.settings.load(Mode::Serve)?;
    let store = local::open(&args.settings).await?;
    let mut places = Places {
        broker: settings
            .broker
            .as_ref()
            .map(|broker| broker::rabbitmq(broker).dead_letters()),
        store,
    };
    let done = match &args.action {
        Action::List { limit } => places.list(*limit, args.json).await,
        Action::Show { id } => places.show(id, args.json).await,
        Action::Redrive(which) => places.settle(which, Fate::Redriven, args.json).await,
        Action::Discard(which) => places.settle(which, Fate::Discarded, args.json).await,
    };
    places.store.close().await;
    done
}

/// What becomes of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Redriven,
    Discarded,
}

impl Fate {
    fn word(self) -> &'static str {
        match self {
            Self::Redriven => "redriven",
            Self::Discarded => "discarded",
        }
    }

    fn verdict(self) -> Verdict {
        match self {
            Self::Redriven => Verdict::Redrive,
            Self::Discarded => Verdict::Discard,
        }
    }
}

/// Where dead letters lie.
struct Places {
    store: Store,
    broker: Option<Box<dyn DeadLetters>>,
}

impl Places {
    async fn list(&mut self, limit: u32, as_json: bool) -> anyhow::Result<()> {
        let rejected = rejected::list(self.store.reader(), Page::first(limit)).await?;
        let mut items: Vec<Value> = rejected.items.iter().map(summary).collect();
        self.look(u64::from(limit), |letter| {
            items.push(letter_summary(letter));
            Verdict::Keep
        })
        .await?;
        self.mark_seen().await?;
        if as_json {
            return Ok(output::json(&items.into())?);
        }
        let mut table = Table::new(&["ID", "SOURCE", "REASON", "BYTES", "AT"]);
        for item in &items {
            table.row(["id", "source", "reason", "bytes", "at"].map(|name| cell(item, name)));
        }
        Ok(table.print("no dead letters")?)
    }

    /// Sources that waited for somebody to look go on.
    async fn mark_seen(&self) -> anyhow::Result<()> {
        let mut transaction = self.store.begin().await?;
        let news = rejected::mark_seen(&mut transaction).await?;
        transaction.commit().await?;
        if news > 0 {
            output::remark(&format!(
                "{news} rejected events are new since the last list; retention may remove them from now on"
            ));
        }
        Ok(())
    }

    async fn show(&mut self, id: &str, as_json: bool) -> anyhow::Result<()> {
        let mut found = None;
        if let Ok(uuid) = id.parse::<Uuid>() {
            let row = rejected::find(self.store.reader(), uuid).await?;
            found = row.map(|(rejected, body)| (summary(&rejected), body));
        } else if id.starts_with(BROKER) {
            self.look(LETTERS, |letter| {
                if letter_id(letter) == id {
                    found = Some((letter_summary(letter), letter.message.body().to_vec()));
                }
                Verdict::Keep
            })
            .await?;
        }
        let Some((mut item, body)) = found else {
            return Err(missing(id));
        };
        let body = String::from_utf8_lossy(&body).into_owned();
        if as_json {
            item["body"] = body.into();
            return Ok(output::json(&item)?);
        }
        for name in ["id", "source", "reason", "bytes", "at"] {
            output::line(&format!("{name}: {}", cell(&item, name)))?;
        }
        Ok(output::line(&format!("\n{}", printable_lines(&body)))?)
    }

    async fn settle(&mut self, which: &Which, fate: Fate, as_json: bool) -> anyhow::Result<()> {
        let mut done = HashSet::new();
        self.look(LETTERS, |letter| {
            let id = letter_id(letter);
            if !which.names(&id) {
                return Verdict::Keep;
            }
            done.insert(id);
            fate.verdict()
        })
        .await?;
        let mut troubles = Vec::new();
        for event in self.rows(which).await? {
            match self.settle_row(event, fate).await {
                Ok(()) => _ = done.insert(event.to_string()),
                Err(trouble) => troubles.push(format!("{event}: {trouble:#}")),
            }
        }
        if as_json {
            let ids: Vec<&String> = done.iter().collect();
            output::json(&json!({ (fate.word()): ids, "troubles": troubles }))?;
        } else {
            output::line(&format!("{} {}", done.len(), fate.word()))?;
        }
        let unknown = which.ids.iter().find(|id| {
            let failed = troubles.iter().any(|trouble| trouble.starts_with(id.as_str()));
            !done.contains(*id) && !failed
        });
        if let Some(id) = unknown {
            return Err(missing(id));
        }
        if !troubles.is_empty() {
            bail!("some stay where they are\n{}", troubles.join("\n"));
        }
        Ok(())
    }

    /// The rejected events that are meant.
    async fn rows(&self, which: &Which) -> anyhow::Result<Vec<Uuid>> {
        if which.all {
            let all = local::every_page!(after => rejected::list(self.store.reader(), local::page(after)));
            return Ok(all.into_iter().map(|rejected| rejected.id).collect());
        }
        Ok(which.ids.iter().filter_map(|id| id.parse().ok()).collect())
    }

    async fn settle_row(&self, id: Uuid, fate: Fate) -> anyhow::Result<()> {
        let Some((kept, body)) = rejected::find(self.store.reader(), id).await? else {
            bail!("there is no such dead letter");
        };
        if fate == Fate::Redriven {
            if !kept.is_whole() {
                bail!(
                    "only the first {} bytes of {} were kept",
                    body.len(),
                    kept.body_size
                );
            }
            let event = match envelope::decode(&body).context("it cannot be read as an event")? {
                Envelope::Event(event) => event,
                Envelope::Heartbeat | Envelope::Ignored => bail!("it is no event"),
            };
            if let Some(text) = [&event.name, &event.event_type]
                .into_iter()
                .find(|text| catalogue::is_reserved(text))
            {
                bail!(reserved(text));
            }
            if applications::find(self.store.reader(), event.scope)
                .await?
                .is_none()
            {
                bail!(unknown_scope(event.scope));
            }
            self.store.engine().append(&[event]).await?;
        }
        let mut transaction = self.store.begin().await?;
        rejected::delete(&mut transaction, id).await?;
        Ok(transaction.commit().await?)
    }

    /// Shows the broker's letters to `judge`, if there is a broker.
    async fn look(
        &mut self,
        limit: u64,
        mut judge: impl FnMut(&DeadLetter) -> Verdict + Send,
    ) -> anyhow::Result<()> {
        let Some(broker) = &mut self.broker else {
            return Ok(());
        };
        tokio::time::timeout(BROKER_LIMIT, broker.examine(limit, &mut judge))
            .await
            .with_context(|| format!("the broker took longer than {} s", BROKER_LIMIT.as_secs()))?
            .context("the broker's dead letters cannot be looked at")
    }
}

fn missing(id: &str) -> anyhow::Error {
    anyhow::anyhow!("there is no dead letter {id}\nsee `demae dead-letters list`")
}

fn summary(rejected: &rejected::Rejected) -> Value {
    json!({
        "id": rejected.id,
        "source": rejected.source,
        "reason": rejected.reason,
        "bytes": rejected.body_size,
        "at": rejected.received_at,
    })
}

fn letter_summary(letter: &DeadLetter) -> Value {
    json!({
        "id": letter_id(letter),
        "source": "broker",
        "reason": letter.reason,
        "bytes": letter.message.body().len(),
        "at": letter.died_at.map(|seconds| Timestamp::from_secs(seconds as i64)),
    })
}

/// The message's own identity; of one that has none, a digest of what it says.
fn letter_id(letter: &DeadLetter) -> String {
    let message = &letter.message;
    if message.id().is_empty() {
        let mut digest = DefaultHasher::new();
        message.body().hash(&mut digest);
        format!("{BROKER}{:016x}", digest.finish())
    } else {
        format!("{BROKER}{}", message.id())
    }
}

/// Text from elsewhere, its lines kept.
fn printable_lines(text: &str) -> String {
    text.lines().map(output::printable).collect::<Vec<_>>().join("\n")
}
