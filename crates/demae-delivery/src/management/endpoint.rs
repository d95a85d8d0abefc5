//! Endpoints: making, reading, changing and deleting them, and their secrets.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use demae_event::{EndpointId, Faults, Scope, Subscription, Timestamp};
use demae_signature::standard::SigningKey;
use demae_store::{
    StoreError, Transaction,
    repository::{
        Listing, Page,
        endpoints::{self, Endpoint, Loaded, PreviousSecret},
        event_types,
        stats::{self, EndpointStats},
    },
};
use zeroize::Zeroizing;

use crate::own_headers::is_public;

use super::{
    Management, ManagementError,
    error::Operation,
    validation::{
        DEFAULT_TIMEOUT, MAX_DESCRIPTION, MAX_NAME, RATE_LIMITS, TIMEOUTS, Target, check_dialect,
        check_event_names, check_headers, check_metadata, check_public_headers, check_range, check_schedule,
        check_secret, check_text, check_url, is_same_origin,
    },
};

/// Seconds for which a rotated-out key goes on signing.
pub const OVERLAPS: std::ops::RangeInclusive<i64> = 0..=604_800;
/// The same unless the caller says otherwise.
pub const DEFAULT_OVERLAP: u32 = 86_400;
/// Rotated-out keys that sign at the same time.
pub const MAX_PREVIOUS_SECRETS: usize = 10;
/// Longest window of statistics.
pub const MAX_STATS_WINDOW: Duration = Duration::from_hours(28 * 24);

pub(super) const RESOURCE: &str = "endpoint";

/// What an endpoint is made of, or replaced with: what is left out gets its default.
#[derive(Debug, Clone, Default)]
pub struct EndpointInput {
    /// Where to; a user name and password become an `authorization` header.
    pub url: String,
    /// Subscriptions, at least one.
    pub event_names: Vec<String>,
    /// What people call it.
    pub name: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// Own headers sent with every delivery. Their values are secret and belong to the URL's origin.
    pub headers: BTreeMap<String, String>,
    /// Names of own headers that are no secret.
    pub public_headers: Vec<String>,
    /// Deliveries per second at most, 1 to 10,000; no limit if left out.
    pub rate_limit: Option<i64>,
    /// Seconds for a whole exchange, 1 to 30; 30 if left out.
    pub timeout_seconds: Option<i64>,
    /// Seconds between attempts, at most 20 of 0 to 604,800; the server's schedule if left out.
    pub retry_schedule: Option<Vec<i64>>,
    /// Whether anything is delivered; yes if left out.
    pub enabled: Option<bool>,
    /// How it is spoken to.
    pub dialect: Option<String>,
    /// The owner's own notes.
    pub metadata: BTreeMap<String, String>,
    /// A signing key that the caller brings, `whsec_…` or `whsk_…`; only when it is made.
    pub secret: Option<String>,
}

/// What changes about an endpoint. `None` keeps a field; of the doubly optional ones, `Some(None)` clears it.
#[derive(Debug, Clone, Default)]
pub struct EndpointPatch {
    /// See [`EndpointInput::url`].
    pub url: Option<String>,
    /// See [`EndpointInput::event_names`].
    pub event_names: Option<Vec<String>>,
    /// See [`EndpointInput::name`].
    pub name: Option<Option<String>>,
    /// See [`EndpointInput::description`].
    pub description: Option<Option<String>>,
    /// All own headers from now on. If they are kept and the URL gets another origin, the secret ones are gone.
    pub headers: Option<BTreeMap<String, String>>,
    /// All names of own headers that are no secret, from now on. One that was a secret must come with its value.
    pub public_headers: Option<Vec<String>>,
    /// See [`EndpointInput::rate_limit`].
    pub rate_limit: Option<Option<i64>>,
    /// See [`EndpointInput::timeout_seconds`].
    pub timeout_seconds: Option<Option<i64>>,
    /// See [`EndpointInput::retry_schedule`].
    pub retry_schedule: Option<Option<Vec<i64>>>,
    /// See [`EndpointInput::enabled`].
    pub enabled: Option<bool>,
    /// See [`EndpointInput::dialect`].
    pub dialect: Option<String>,
    /// All notes from now on.
    pub metadata: Option<BTreeMap<String, String>>,
}

/// The text that a receiver needs to verify: the shared secret, or the public half of a key pair.
pub fn receiver_secret(endpoint: &Endpoint) -> Result<Zeroizing<String>, StoreError> {
    let key =
        SigningKey::parse(&endpoint.secret).map_err(|_| StoreError::Unreadable("an endpoint's secret"))?;
    Ok(key.receiver_text())
}

impl Management {
    /// Makes an endpoint. Show its secret (see [`receiver_secret`]) with the answer.
    pub async fn create_endpoint(
        &self,
        transaction: &mut Transaction,
        scope: Scope,
        input: EndpointInput,
        now: Timestamp,
    ) -> Result<Endpoint, ManagementError> {
        let operation = Operation("CreateEndpoint");
        let mut faults = Faults::new();
        let key = check_secret(&mut faults, "secret", input.secret.as_deref());
        let mut endpoint = blank(scope, now);
        if let Some(key) = key {
            endpoint.secret = key.secret_text();
        }
        self.apply(transaction, &mut faults, &mut endpoint, whole(input))
            .await?;
        operation.check(faults)?;
        let limit = self.rules.endpoints_per_organization;
        if !endpoints::insert(transaction, self.store.vault(), &endpoint, u64::from(limit)).await? {
            let detail = format!("an organization may have at most {limit} endpoints");
            return Err(operation.conflict("LimitReached", detail));
        }
        Ok(endpoint)
    }

    /// One endpoint.
    pub async fn endpoint(&self, scope: Scope, id: EndpointId) -> Result<Endpoint, ManagementError> {
        endpoints::find(self.store.reader(), self.store.vault(), scope, id)
            .await?
            .ok_or(Operation("GetEndpoint").not_found(RESOURCE))
    }

    /// One endpoint, which nobody else changes until the transaction ends; none if it is not there.
    pub async fn hold_endpoint(
        &self,
        transaction: &mut Transaction,
        scope: Scope,
        id: EndpointId,
    ) -> Result<Option<Endpoint>, ManagementError> {
        Ok(endpoints::find_for_update(transaction, self.store.vault(), scope, id).await?)
    }

    /// The endpoints of an scope, oldest first. One whose secrets cannot be opened is there without them.
    pub async fn endpoints(
        &self,
        scope: Scope,
        page: Page<EndpointId>,
    ) -> Result<Listing<Loaded, EndpointId>, ManagementError> {
        Ok(endpoints::list(self.store.reader(), self.store.vault(), scope, page).await?)
    }

    /// Replaces everything about an endpoint but its secret.
    pub async fn replace_endpoint(
        &self,
        transaction: &mut Transaction,
        scope: Scope,
        id: EndpointId,
        input: EndpointInput,
        now: Timestamp,
    ) -> Result<Endpoint, ManagementError> {
        let operation = Operation("UpdateEndpoint");
        if input.secret.is_some() {
            return Err(operation.invalid("secret", "cannot be set here; rotate it instead"));
        }
        self.change(transaction, operation, (scope, id), whole(input), now)
            .await
    }

    /// Changes some things about an endpoint.
    pub async fn patch_endpoint(
        &self,
        transaction: &mut Transaction,
        scope: Scope,
        id: EndpointId,
        patch: EndpointPatch,
        now: Timestamp,
    ) -> Result<Endpoint, ManagementError> {
        self.change(transaction, Operation("UpdateEndpoint"), (scope, id), patch, now)
            .await
    }

    /// Deletes an endpoint. Its history stays; what still waits for it is canceled by the workers.
    pub async fn delete_endpoint(
        &self,
        transaction: &mut Transaction,
        scope: Scope,
        id: EndpointId,
        now: Timestamp,
    ) -> Result<(), ManagementError> {
        if endpoints::delete(transaction, scope, id, now).await? {
            Ok(())
        } else {
            Err(Operation("DeleteEndpoint").not_found(RESOURCE))
        }
    }

    /// Gives an endpoint a new signing key: `key`, or one made here. The old one goes on signing, besides, for
    /// `overlap_seconds` ([`OVERLAPS`], [`DEFAULT_OVERLAP`] if left out); none at all, and no earlier one either, if that is
    /// zero. Answers the endpoint with its new key.
    pub async fn rotate_secret(
        &self,
        transaction: &mut Transaction,
        (scope, id): (Scope, EndpointId),
        key: Option<&str>,
        overlap_seconds: Option<i64>,
        now: Timestamp,
    ) -> Result<Endpoint, ManagementError> {
        let operation = Operation("RotateEndpointSecret");
        let mut faults = Faults::new();
        let overlap = check_range(
            &mut faults,
            "overlap_seconds",
            Some(overlap_seconds.unwrap_or(i64::from(DEFAULT_OVERLAP))),
            &OVERLAPS,
        );
        let new = check_secret(&mut faults, "key", key);
        operation.check(faults)?;
        let (Some(overlap), Some(new)) = (overlap, new) else {
            return Err(operation.invalid("", "is not usable"));
        };
        let mut endpoint = self.find_for_update(transaction, operation, scope, id).await?;
        let new = new.secret_text();
        if new == endpoint.secret {
            return Err(operation.invalid("key", "is the present key already"));
        }
        endpoint
            .previous_secrets
            .retain(|previous| previous.expires_at > now && previous.secret != new);
        if overlap == 0 {
            // Asked for when a key has leaked: no earlier one may sign any longer either.
            endpoint.previous_secrets.clear();
        } else {
            if endpoint.previous_secrets.len() >= MAX_PREVIOUS_SECRETS {
                let detail =
                    format!("{MAX_PREVIOUS_SECRETS} earlier keys still sign; wait until one expires");
                return Err(operation.conflict("LimitReached", detail));
            }
            let expires_at = now + Duration::from_secs(u64::from(overlap));
            let previous = PreviousSecret {
                secret: endpoint.secret,
                expires_at,
            };
            endpoint.previous_secrets.insert(0, previous);
        }
        endpoint.secret = new;
        endpoint.updated_at = now;
        endpoints::update(transaction, self.store.vault(), &endpoint).await?;
        Ok(endpoint)
    }

    /// How an endpoint fared within a window of at most [`MAX_STATS_WINDOW`]; the last such if left out.
    pub async fn endpoint_stats(
        &self,
        scope: Scope,
        id: EndpointId,
        (since, until): (Option<Timestamp>, Option<Timestamp>),
        now: Timestamp,
    ) -> Result<EndpointStats, ManagementError> {
        let operation = Operation("GetEndpointStats");
        let until = until.unwrap_or(now);
        let since = since.unwrap_or(until - MAX_STATS_WINDOW);
        let mut faults = Faults::new();
        if since > until {
            faults.push_value("query.since", "must not be after until", since.to_string());
        } else if until.since(since) > MAX_STATS_WINDOW {
            faults.push_value(
                "query.since",
                "must be at most 28 days before until",
                since.to_string(),
            );
        }
        operation.check(faults)?;
        let connection = self.store.reader();
        endpoints::find(connection, self.store.vault(), scope, id)
            .await?
            .ok_or(operation.not_found(RESOURCE))?;
        Ok(stats::of_endpoint(connection, scope, id, (since, until)).await?)
    }

    pub(super) async fn find_for_update(
        &self,
        transaction: &mut Transaction,
        operation: Operation,
        scope: Scope,
        id: EndpointId,
    ) -> Result<Endpoint, ManagementError> {
        endpoints::find_for_update(transaction, self.store.vault(), scope, id)
            .await?
            .ok_or(operation.not_found(RESOURCE))
    }

    async fn change(
        &self,
        transaction: &mut Transaction,
        operation: Operation,
        (scope, id): (Scope, EndpointId),
        patch: EndpointPatch,
        now: Timestamp,
    ) -> Result<Endpoint, ManagementError> {
        let before = self.find_for_update(transaction, operation, scope, id).await?;
        let mut endpoint = before.clone();
        let mut faults = Faults::new();
        self.apply(transaction, &mut faults, &mut endpoint, patch).await?;
        operation.check(faults)?;
        if endpoint.enabled && (!before.enabled || endpoint.url != before.url) {
            // A fresh start: what failed before says nothing about what was repaired.
            endpoint.failing_since = None;
            endpoint.failing_notified_at = None;
            endpoint.disabled_reason = None;
        }
        endpoint.updated_at = now;
        endpoints::update(transaction, self.store.vault(), &endpoint).await?;
        Ok(endpoint)
    }

    /// Checks what `patch` changes and writes it into `endpoint`, noting every fault.
    async fn apply(
        &self,
        transaction: &Transaction,
        faults: &mut Faults,
        endpoint: &mut Endpoint,
        patch: EndpointPatch,
    ) -> Result<(), StoreError> {
        if let Some(names) = patch.event_names {
            let subscriptions = check_event_names(faults, &names);
            self.refuse_unknown(transaction, faults, endpoint.scope, &names, &subscriptions)
                .await?;
            endpoint.event_names = names;
        }
        if let Some(name) = patch.name {
            endpoint.name = name.unwrap_or_default();
            check_text(faults, "name", &endpoint.name, MAX_NAME);
        }
        if let Some(description) = patch.description {
            endpoint.description = description.unwrap_or_default();
            check_text(faults, "description", &endpoint.description, MAX_DESCRIPTION);
        }
        let target = patch
            .url
            .and_then(|url| check_url(faults, &url, self.rules.https_only));
        set_headers(
            faults,
            endpoint,
            target.as_ref(),
            patch.headers,
            patch.public_headers,
        );
        if let Some(target) = target {
            endpoint.url = target.url;
        }
        if let Some(limit) = patch.rate_limit {
            endpoint.rate_limit = check_range(faults, "rate_limit", limit, &RATE_LIMITS);
        }
        if let Some(seconds) = patch.timeout_seconds {
            let seconds = check_range(faults, "timeout_seconds", seconds, &TIMEOUTS);
            endpoint.timeout_seconds = seconds.unwrap_or(DEFAULT_TIMEOUT);
        }
        if let Some(schedule) = patch.retry_schedule {
            endpoint.retry_schedule = check_schedule(faults, schedule.as_deref());
        }
        if let Some(dialect) = patch.dialect {
            check_dialect(faults, Some(&dialect))
                .as_str()
                .clone_into(&mut endpoint.dialect);
        }
        if let Some(metadata) = patch.metadata {
            check_metadata(faults, &metadata);
            endpoint.metadata = metadata;
        }
        endpoint.enabled = patch.enabled.unwrap_or(endpoint.enabled);
        Ok(())
    }

    /// A name that is in no catalogue must be one of the organization's own: most such names are misspelt.
    async fn refuse_unknown(
        &self,
        transaction: &Transaction,
        faults: &mut Faults,
        scope: Scope,
        names: &[String],
        subscriptions: &[Subscription],
    ) -> Result<(), StoreError> {
        if subscriptions.iter().all(Subscription::is_known) {
            return Ok(());
        }
        let own = event_types::names(transaction.connection(), scope.organization, self.own_types()).await?;
        let own_names: BTreeSet<&str> = own.iter().map(|(name, _)| name.as_str()).collect();
        let own_types: BTreeSet<&str> = own.iter().map(|(_, event_type)| event_type.as_str()).collect();
        for subscription in subscriptions
            .iter()
            .filter(|subscription| !subscription.is_known())
        {
            let text = subscription.as_str();
            let known = match text.strip_suffix('*') {
                Some(prefix) => {
                    let first = own_names.range(prefix..).next();
                    first.is_some_and(|name| name.starts_with(prefix))
                }
                None => own_names.contains(text) || own_types.contains(text),
            };
            if !known {
                let place = names.iter().position(|name| name == text).unwrap_or_default();
                let message = "is not a known event; register it as an event type first";
                faults.push_value(format!("event_names[{place}]"), message, text);
            }
        }
        Ok(())
    }
}

/// The input as a change of everything.
fn whole(input: EndpointInput) -> EndpointPatch {
    EndpointPatch {
        url: Some(input.url),
        event_names: Some(input.event_names),
        name: Some(input.name),
        description: Some(input.description),
        headers: Some(input.headers),
        public_headers: Some(input.public_headers),
        rate_limit: Some(input.rate_limit),
        timeout_seconds: Some(input.timeout_seconds),
        retry_schedule: Some(input.retry_schedule),
        enabled: Some(input.enabled.unwrap_or(true)),
        dialect: Some(
            input
                .dialect
                .unwrap_or_else(|| crate::dialect::Dialect::Standard.as_str().to_owned()),
        ),
        metadata: Some(input.metadata),
    }
}

/// Sets an endpoint's own headers, before its URL is set to `target`'s.
///
/// Credentials belong to an origin: with a URL of another one, what is kept are the public headers. A password in the URL
/// is moved to where secrets are sealed, in the place of the one that was there; a header of that name that is given
/// together with it goes before it.
fn set_headers(
    faults: &mut Faults,
    endpoint: &mut Endpoint,
    target: Option<&Target>,
    given: Option<BTreeMap<String, String>>,
    public: Option<Vec<String>>,
) {
    const AUTHORIZATION: &str = "authorization";
    let is_authorization = |name: &String| name.eq_ignore_ascii_case(AUTHORIZATION);
    if let Some(given) = &given {
        check_headers(faults, given);
    }
    if let Some(public) = &public {
        check_public_headers(faults, public, given.as_ref(), &endpoint.public_headers);
    }
    let keeps_origin = target.is_none_or(|target| is_same_origin(&endpoint.url, &target.url));
    let has_given = given
        .as_ref()
        .is_some_and(|given| given.keys().any(is_authorization));
    match given {
        Some(given) => endpoint.headers = given,
        None if keeps_origin => {}
        None => {
            let Endpoint {
                headers,
                public_headers,
                ..
            } = &mut *endpoint;
            headers.retain(|name, _| is_public(public_headers, name));
        }
    }
    let password = target.and_then(|target| target.authorization.as_ref());
    if let Some(password) = password.filter(|_| !has_given) {
        endpoint.headers.retain(|name, _| !is_authorization(name));
        endpoint
            .headers
            .insert(AUTHORIZATION.to_owned(), password.clone());
    }
    let mut names = public.unwrap_or_else(|| std::mem::take(&mut endpoint.public_headers));
    names.retain(|public| {
        endpoint
            .headers
            .keys()
            .any(|name| name.eq_ignore_ascii_case(public))
    });
    endpoint.public_headers = names;
}

fn blank(scope: Scope, now: Timestamp) -> Endpoint {
    Endpoint {
        id: EndpointId::new(now),
        scope,
        url: String::new(),
        event_names: Vec::new(),
        name: String::new(),
        description: String::new(),
        headers: BTreeMap::new(),
        public_headers: Vec::new(),
        rate_limit: None,
        timeout_seconds: DEFAULT_TIMEOUT,
        retry_schedule: None,
        enabled: true,
        dialect: String::new(),
        metadata: BTreeMap::new(),
        secret: Zeroizing::default(),
        previous_secrets: Vec::new(),
        failing_since: None,
        failing_notified_at: None,
        disabled_reason: None,
        created_at: now,
        updated_at: now,
    }
}
