//! One request to the directory, over a connection of its own: there are some ten of them in months.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::Verifier;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::store::LARGEST;

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(30);

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Who asks.
#[derive(Clone)]
pub(crate) struct Http {
    tls: TlsConnector,
    /// The `Retry-After` of the last response, in seconds or as a date.
    asked_to_wait: Arc<Mutex<Option<String>>>,
}

impl Http {
    /// Believes the roots of the system, or those of a PEM file. An error says why it cannot.
    pub(crate) fn new(roots: Option<&[u8]>) -> Result<Http, String> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
        let config = config.map_err(|error| error.to_string())?;
        let mut config = match roots {
            None => {
                let system = Verifier::new(provider).map_err(|error| format!("the system's roots: {error}"))?;
                config.dangerous().with_custom_certificate_verifier(Arc::new(system)).with_no_client_auth()
            }
            Some(pem) => {
                let mut store = RootCertStore::empty();
                for root in CertificateDer::pem_slice_iter(pem) {
                    let root = root.map_err(|error| format!("the roots are no PEM: {error}"))?;
                    store.add(root).map_err(|error| format!("a root cannot be used: {error}"))?;
                }
                if store.is_empty() {
                    return Err("there is no certificate among the roots".to_owned());
                }
                config.with_root_certificates(store).with_no_client_auth()
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Http { tls: TlsConnector::from(Arc::new(config)), asked_to_wait: Arc::default() })
    }

    /// How long the last response asks to wait; none if it does not, or asks by a date.
    pub(crate) fn asked_to_wait(&self) -> Option<Duration> {
        let asked = self.asked_to_wait.lock().unwrap_or_else(PoisonError::into_inner);
        asked.as_ref()?.trim().parse().ok().map(Duration::from_secs)
    }

    async fn send(self, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Failure> {
        let host = request.uri().host().ok_or("the directory names a URL without a host")?.to_owned();
        if request.uri().scheme_str() != Some("https") {
            return Err(format!("{} is not https", request.uri()).into());
        }
        let port = request.uri().port_u16().unwrap_or(443);
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let socket = TcpStream::connect((bare.as_str(), port)).await;
        let socket = socket.map_err(|error| format!("cannot connect to {host}:{port}: {error}"))?;
        let stream = self.tls.connect(ServerName::try_from(bare)?, socket).await;
        let stream = stream.map_err(|error| format!("TLS with {host}: {error}"))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(connection);
        let (mut parts, body) = request.into_parts();
        let place = parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let authority = parts.uri.authority().map_or_else(String::new, ToString::to_string);
        parts.headers.insert(header::HOST, authority.parse()?);
        parts.uri = place.parse()?;
        let response = sender.send_request(Request::from_parts(parts, body)).await?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, LARGEST as usize).collect().await?.to_bytes();
        driver.abort();
        let asked = parts.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        *self.asked_to_wait.lock().unwrap_or_else(PoisonError::into_inner) = asked.map(str::to_owned);
        Ok(Response::from_parts(parts, Full::new(body)).into())
    }
}

impl HttpClient for Http {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let place = request.uri().to_string();
        let sending = tokio::time::timeout(PATIENCE, self.clone().send(request));
        Box::pin(async move {
            match sending.await {
                Ok(Ok(response)) => Ok(response),
                Ok(Err(error)) => Err(Error::Other(failure(&place, &error))),
                Err(_) => Err(Error::Other(failure(&place, &format!("no answer in {PATIENCE:?}").into()))),
            }
        })
    }
}

/// With the URL, and what it comes from.
fn failure(place: &str, error: &Failure) -> Failure {
    let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    io::Error::other(format!("{place}: {error}{cause}")).into()
}
