//! One directory (RFC 8555): its account, and how a name becomes a certificate.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use instant_acme::{
    Account, ChallengeType, Error, ExternalAccountKey, Identifier, NewAccount, NewOrder, Order, OrderStatus,
    RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};

use crate::http::Http;
use crate::leaf;
use crate::store::{Answer, Store};

/// How a name is proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// A file that is asked for over HTTP, on port 80 of the name (RFC 8555, section 8.3).
    Http,
    /// A certificate that is asked for over TLS, on port 443 of the name (RFC 8737).
    TlsAlpn,
}

/// An account at the authority that the one here belongs to (RFC 8555, section 7.3.4).
#[derive(Clone)]
pub struct ExternalAccount {
    /// The key's identifier, as the authority told it.
    pub kid: String,
    /// The key: base64url, as the authority told it.
    pub hmac: String,
}

/// What cannot be used of what was configured.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SetupError(String);

/// Who issues certificates.
pub struct Directory {
    url: String,
    contacts: Vec<String>,
    external: Option<ExternalAccountKey>,
    challenge: Challenge,
    http: Http,
}

/// Why there is no certificate.
#[derive(Debug)]
pub(crate) struct Failed {
    /// The step, and what the authority says.
    pub(crate) why: String,
    /// How long the authority asks to wait.
    pub(crate) after: Option<Duration>,
}

impl From<String> for Failed {
    fn from(why: String) -> Self {
        Failed { why, after: None }
    }
}

/// Who makes a certificate of a name.
pub(crate) trait Authority {
    /// The key and its chain, as PEM.
    async fn obtain(&self, name: &str, store: &Store) -> Result<String, Failed>;
}

impl Directory {
    /// `url` is that of the directory, `roots` who may sign the certificate that it shows (PEM; none for whom the system
    /// trusts).
    pub fn new(
        url: &str,
        contacts: Vec<String>,
        external: Option<ExternalAccount>,
        challenge: Challenge,
        roots: Option<&[u8]>,
    ) -> Result<Directory, SetupError> {
        let external = external.map(|ExternalAccount { kid, hmac }| {
            let key = BASE64_URL_SAFE_NO_PAD.decode(hmac.trim().trim_end_matches('='));
            let key = key.map_err(|_| SetupError("the key of the external account is not base64url".to_owned()))?;
            Ok(ExternalAccountKey::new(kid, &key))
        });
        let http = Http::new(roots).map_err(SetupError)?;
        Ok(Directory { url: url.to_owned(), contacts, external: external.transpose()?, challenge, http })
    }

    /// The account of the folder, or a new one.
    async fn account(&self, store: &Store) -> Result<Account, Failed> {
        let builder = Account::builder_with_http(Box::new(self.http.clone()));
        // One that cannot be read is as good as none.
        let known = store.read_account().ok().and_then(|text| serde_json::from_str(&text).ok());
        if let Some(credentials) = known {
            return builder.from_credentials(credentials).await.map_err(|error| self.failed("the directory", error));
        }
        let contacts: Vec<&str> = self.contacts.iter().map(String::as_str).collect();
        let account = NewAccount { contact: &contacts, terms_of_service_agreed: true, only_return_existing: false };
        let made = builder.create(&account, self.url.clone(), self.external.as_ref()).await;
        let (account, credentials) = made.map_err(|error| self.failed("a new account", error))?;
        let text = serde_json::to_string(&credentials).map_err(|error| error.to_string())?;
        store.write_account(&text).map_err(|error| format!("the account cannot be kept: {error}"))?;
        Ok(account)
    }

    /// Lets the authority look at what proves the name. The answers stay until the order is over.
    async fn prove(&self, order: &mut Order, name: &str, store: &Store) -> Result<Vec<Answer>, Failed> {
        let kind = match self.challenge {
            Challenge::Http => ChallengeType::Http01,
            Challenge::TlsAlpn => ChallengeType::TlsAlpn01,
        };
        let mut answers = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(|error| self.failed("an authorization", error))?;
            if authorization.status == instant_acme::AuthorizationStatus::Valid {
                continue;
            }
            let Some(mut challenge) = authorization.challenge(kind.clone()) else {
                return Err(format!("the authority does not offer {}", self.words()).into());
            };
            let proof = challenge.key_authorization();
            let written = match self.challenge {
                Challenge::Http => store.answer_http(&challenge.token, proof.as_str()),
                Challenge::TlsAlpn => store.answer_tls(name, proof.digest().as_ref()),
            };
            answers.push(written.map_err(|error| format!("the answer cannot be kept: {error}"))?);
            challenge.set_ready().await.map_err(|error| self.failed(self.words(), error))?;
        }
        Ok(answers)
    }

    /// What the authority has found out.
    async fn refusal(&self, order: &mut Order) -> Failed {
        let mut found = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(Ok(mut authorization)) = authorizations.next().await {
            let Ok(state) = authorization.refresh().await else { continue };
            found.extend(state.challenges.iter().filter_map(|challenge| challenge.error.as_ref()).map(problem));
        }
        let found = if found.is_empty() { "the authority does not say why".to_owned() } else { found.join("; ") };
        Failed { why: format!("{} failed: {found}", self.words()), after: None }
    }

    fn words(&self) -> &'static str {
        match self.challenge {
            Challenge::Http => "http-01",
            Challenge::TlsAlpn => "tls-alpn-01",
        }
    }

    fn failed(&self, step: &str, error: Error) -> Failed {
        let why = match &error {
            Error::Api(told) => format!("{step}: {}", problem(told)),
            error => format!("{step}: {error}"),
        };
        Failed { why, after: self.http.asked_to_wait().filter(|_| matches!(error, Error::Api(_))) }
    }
}

impl Authority for Directory {
    async fn obtain(&self, name: &str, store: &Store) -> Result<String, Failed> {
        let account = self.account(store).await?;
        let names = [Identifier::Dns(name.to_owned())];
        let mut order = match account.new_order(&NewOrder::new(&names)).await {
            Ok(order) => order,
            Err(error) => {
                if let Error::Api(told) = &error
                    && told.r#type.as_deref().is_some_and(|kind| kind.ends_with(":accountDoesNotExist"))
                {
                    store.forget_account();
                }
                return Err(self.failed("a new order", error));
            }
        };
        let _answers = self.prove(&mut order, name, store).await?;
        let patience = RetryPolicy::new().timeout(Duration::from_secs(120));
        match order.poll_ready(&patience).await {
            Ok(OrderStatus::Ready) => {}
            Ok(_) | Err(Error::Api(_)) => return Err(self.refusal(&mut order).await),
            Err(error) => return Err(self.failed(self.words(), error)),
        }
        let key = KeyPair::generate().map_err(|error| format!("a key: {error}"))?;
        let mut request =
            CertificateParams::new(vec![name.to_owned()]).map_err(|error| format!("a request: {error}"))?;
        // The names that count are the alternative ones.
        request.distinguished_name = DistinguishedName::new();
        let request = request.serialize_request(&key).map_err(|error| format!("a request: {error}"))?;
        order
            .finalize_csr(request.der())
            .await
            .map_err(|error| self.failed("the request for the certificate", error))?;
        let chain = order.poll_certificate(&patience).await.map_err(|error| self.failed("the certificate", error))?;
        let pem = key.serialize_pem() + &chain;
        leaf::validity(&pem, name).map_err(|error| format!("the certificate that came: {error}"))?;
        Ok(pem)
    }
}

/// In the authority's own words.
fn problem(told: &instant_acme::Problem) -> String {
    let kind = told.r#type.as_deref().and_then(|kind| kind.rsplit(':').next()).unwrap_or("a problem");
    match &told.detail {
        Some(detail) => format!("{detail} ({kind})"),
        None => kind.to_owned(),
    }
}
