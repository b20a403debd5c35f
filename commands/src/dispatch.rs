//! One call of an agent for somebody: whose data goes in, and the record of it.

use roster_domain::access::{ConnectorIdentity, Reason, Trust};
use roster_domain::customer::Customer;
use roster_domain::dispatch::{Call, Inputs, Record};
use roster_domain::schema::Schema;
use roster_domain::value::{Profile, Value};
use roster_store::journal::{self, Dispatch, Earlier, Journaled, SealedRecord};
use roster_store::{Loaded, Project};
use uuid::Uuid;

use crate::authority::Operation;
use crate::{CommandError, Context, Directory};

/// The field that every customer has.
const CUSTOMER_USER_ID: &str = "customer_user_id";

/// Whether an answer waits for its record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuditMode {
    /// It is sent once the record is committed.
    #[default]
    Durable,
    /// It is sent before: a crash loses at most [`journal::LOSS_BOUND`] records, and a repeated call is decided again.
    Async,
}

/// A call, and what was decided about whom it is for.
#[derive(Debug)]
pub struct DispatchInput {
    /// Which call.
    pub call: Call,
    /// What goes in.
    pub inputs: Inputs,
    /// Whom it is for, as the channel names them.
    pub identity: ConnectorIdentity,
    /// The customer behind it, if one was found.
    pub customer_ref: Option<Uuid>,
    /// Whether the agent may be called for them.
    pub allowed: bool,
    /// Why.
    pub reason: Reason,
    /// How far the match is vouched for.
    pub trust: Trust,
}

/// What a caller may call the agent with.
#[derive(Clone, Debug)]
pub struct Dispatched {
    /// Whether it may be called.
    pub allowed: bool,
    /// Why, in the words of the API.
    pub reason: String,
    /// How far the match is vouched for, in the words of the API.
    pub trust: String,
    /// The inputs.
    pub record: Record,
    /// Whether this is the answer to an earlier, identical call.
    pub replayed: bool,
}

impl Directory {
    /// Fills the inputs of a call and records it; the same call again gives the first answer.
    ///
    /// The values are those of the log now. Somebody who is gone by then is nobody.
    ///
    /// # Errors
    /// [`CommandError::Unavailable`] where it is unknown whether the call was recorded: the same one may be sent again.
    pub async fn dispatch(
        &self,
        ctx: &Context,
        schema: &Schema,
        mut input: DispatchInput,
    ) -> Result<Dispatched, CommandError> {
        ctx.authorise(Operation::Dispatch)?;
        let project = self.writable(ctx).await?;
        let customer = match input.customer_ref {
            // What is injected must be the newest; a refusal needs the key alone.
            Some(stream) if input.allowed => Some(self.cell().load_fresh(&project, stream).await?),
            Some(stream) => Some(self.cell().load(&project, stream).await?),
            None => None,
        };
        let customer = customer.filter(|loaded: &Loaded<Customer>| loaded.state.is_active());
        if customer.is_none() && input.customer_ref.is_some() {
            input.customer_ref = None;
            input.allowed = false;
            input.reason = Reason::Unmatched;
            input.trust = Trust::None;
        }
        let filled = match customer.as_ref().filter(|_| input.allowed) {
            Some(customer) => input.inputs.fill(&data(schema, &customer.state)),
            None => input.inputs.refuse(),
        };
        let Call {
            run_id,
            agent_alias,
            endpoint,
        } = input.call;
        let run_key = project.run_key(&run_id, &agent_alias.to_lowercase(), &endpoint);
        let identity_key = project.identity_key(&input.identity);
        let record = Record::new(run_id, input.identity.external_user_id, filled);
        let part = journal::part(&run_key);
        let plain = record.clone().encode();
        let sealed = match &customer {
            Some(customer) => customer.seal(&part, &plain).unwrap_or_default(),
            None => project
                .key_of_identity(&identity_key)
                .seal(part.as_bytes(), &plain),
        };
        let dispatch = Dispatch {
            project_no: project.no,
            customer_ref: input.customer_ref,
            allowed: input.allowed,
            run_key,
            identity_key,
            channel: input.identity.channel,
            endpoint,
            agent_alias,
            reason: input.reason.as_str(),
            trust: input.trust.as_str(),
            sealed,
        };
        metrics::counter!("roster_dispatches_total", "reason" => dispatch.reason).increment(1);
        let journaled = match self.limits().audit {
            AuditMode::Durable => self.cell().journal(dispatch).await?,
            AuditMode::Async => {
                self.cell().journal_later(dispatch).await?;
                Journaled::Written
            }
        };
        match journaled {
            Journaled::Written => Ok(Dispatched {
                allowed: input.allowed,
                reason: input.reason.as_str().to_owned(),
                trust: input.trust.as_str().to_owned(),
                record,
                replayed: false,
            }),
            Journaled::Earlier(earlier) => self.again(&project, &part, earlier).await,
        }
    }

    /// The first answer. Where the person was erased since, nobody is there to call the agent for.
    async fn again(
        &self,
        project: &Project,
        part: &str,
        earlier: Earlier,
    ) -> Result<Dispatched, CommandError> {
        let Earlier {
            customer_ref,
            identity_key,
            allowed,
            reason,
            trust,
            sealed,
        } = earlier;
        let record = match sealed {
            Some(sealed) => {
                let sealed = SealedRecord {
                    customer_ref,
                    identity_key,
                    part: part.to_owned(),
                    bytes: sealed,
                };
                let mut records = self.cell().open_records(project, &[sealed]).await?;
                records.pop().flatten()
            }
            None => None,
        };
        Ok(match record {
            Some(record) => Dispatched {
                allowed,
                reason,
                trust,
                record,
                replayed: true,
            },
            None => Dispatched {
                allowed: false,
                reason: Reason::Unmatched.as_str().to_owned(),
                trust: Trust::None.as_str().to_owned(),
                record: Record::default(),
                replayed: true,
            },
        })
    }
}

/// What may be injected: the profile, and the id under its own name and that of the primary key.
fn data(schema: &Schema, customer: &Customer) -> Profile {
    let mut data = customer.profile.known().cloned().unwrap_or_default();
    if let Some(id) = customer.customer_user_id.known() {
        for name in [CUSTOMER_USER_ID, schema.primary_key()] {
            data.entry(name.into())
                .or_insert_with(|| Value::Text(id.as_str().into()));
        }
    }
    data
}
