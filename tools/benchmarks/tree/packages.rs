//! Sixty popular packages, their downloads, and the modules that functions import of them.

/// A package that functions use.
#[derive(Debug)]
pub struct Package {
    /// The package's name in the index.
    pub name: &'static str,
    /// Downloads in 30 days, in millions: Hugo van Kemenade, *Top PyPI Packages*, June 2025
    /// (`top-pypi-packages.csv`). The list leaves out tools, packages that no function imports
    /// itself, and some of many similar ones.
    pub downloads: f64,
    /// Modules to import; a function takes some of them. Packages that load their parts late, such
    /// as scipy, are listed with their parts.
    pub imports: &'static [&'static str],
}

const fn package(name: &'static str, downloads: f64, imports: &'static [&'static str]) -> Package {
    Package { name, downloads, imports }
}

/// All packages.
pub const PACKAGES: [Package; 60] = [
    package("boto3", 1399.0, &["boto3", "boto3.dynamodb.conditions", "botocore.config"]),
    package("urllib3", 833.0, &["urllib3"]),
    package("requests", 740.0, &["requests"]),
    package("certifi", 727.0, &["certifi"]),
    package("typing-extensions", 712.0, &["typing_extensions"]),
    package("charset-normalizer", 686.0, &["charset_normalizer"]),
    package("idna", 665.0, &["idna"]),
    package("packaging", 643.0, &["packaging.version", "packaging.requirements"]),
    package(
        "python-dateutil",
        556.0,
        &["dateutil.parser", "dateutil.relativedelta", "dateutil.tz"],
    ),
    package("six", 505.0, &["six"]),
    package("numpy", 448.0, &["numpy", "numpy.testing"]),
    package("pyyaml", 436.0, &["yaml"]),
    package("protobuf", 419.0, &["google.protobuf.message", "google.protobuf.json_format"]),
    package("cryptography", 410.0, &["cryptography.fernet", "cryptography.x509"]),
    package("pydantic", 381.0, &["pydantic", "pydantic.dataclasses"]),
    package("fsspec", 376.0, &["fsspec", "fsspec.implementations.local"]),
    package("pandas", 342.0, &["pandas"]),
    package("attrs", 342.0, &["attr", "attrs"]),
    package("click", 325.0, &["click"]),
    package("pytz", 307.0, &["pytz"]),
    package("jinja2", 299.0, &["jinja2"]),
    package("httpx", 215.0, &["httpx"]),
    package("jsonschema", 215.0, &["jsonschema"]),
    package("aiohttp", 213.0, &["aiohttp", "aiohttp.web"]),
    package("pyjwt", 213.0, &["jwt"]),
    package("psutil", 192.0, &["psutil"]),
    package("pyarrow", 191.0, &["pyarrow", "pyarrow.parquet", "pyarrow.dataset"]),
    package(
        "sqlalchemy",
        181.0,
        &["sqlalchemy", "sqlalchemy.orm", "sqlalchemy.dialects.postgresql"],
    ),
    package("tqdm", 175.0, &["tqdm"]),
    package("rich", 166.0, &["rich.console", "rich.table"]),
    package("grpcio", 165.0, &["grpc", "grpc.aio"]),
    package("pillow", 163.0, &["PIL.Image", "PIL.ImageDraw"]),
    package("beautifulsoup4", 158.0, &["bs4"]),
    package("scipy", 158.0, &["scipy.stats", "scipy.optimize", "scipy.sparse", "scipy.signal"]),
    package("openpyxl", 149.0, &["openpyxl"]),
    package("google-cloud-storage", 144.0, &["google.cloud.storage"]),
    package("lxml", 141.0, &["lxml.etree", "lxml.html"]),
    package("werkzeug", 137.0, &["werkzeug", "werkzeug.security"]),
    package("flask", 117.0, &["flask"]),
    package(
        "scikit-learn",
        105.0,
        &["sklearn.ensemble", "sklearn.linear_model", "sklearn.pipeline", "sklearn.metrics"],
    ),
    package("networkx", 103.0, &["networkx"]),
    package("fastapi", 101.0, &["fastapi", "fastapi.testclient"]),
    package("tabulate", 97.0, &["tabulate"]),
    package("matplotlib", 94.0, &["matplotlib.pyplot", "matplotlib.figure"]),
    package("paramiko", 92.0, &["paramiko"]),
    package("redis", 79.0, &["redis", "redis.asyncio"]),
    package("marshmallow", 79.0, &["marshmallow"]),
    package("openai", 74.0, &["openai"]),
    package("docker", 73.0, &["docker"]),
    package("tornado", 66.0, &["tornado.web", "tornado.httpclient"]),
    package("orjson", 63.0, &["orjson"]),
    package("pymysql", 62.0, &["pymysql"]),
    package("markdown", 62.0, &["markdown"]),
    package("kubernetes", 61.0, &["kubernetes.client", "kubernetes.config"]),
    package("sentry-sdk", 56.0, &["sentry_sdk"]),
    package("sympy", 54.0, &["sympy"]),
    package("opensearch-py", 53.0, &["opensearchpy"]),
    package("pymongo", 50.0, &["pymongo"]),
    package("nltk", 31.0, &["nltk.tokenize", "nltk.stem"]),
    package("plotly", 27.0, &["plotly.graph_objects", "plotly.io"]),
];

/// OpenLambda's default tree, `default-zygotes-40.json`, the most useful zygotes first: for each
/// the index of its parent (-1 for the root), and the package that it imports.
pub const OPENLAMBDA: [(i32, &str); 39] = [
    (-1, "numpy"),
    (-1, "six"),
    (0, "setuptools"),
    (2, "pyparsing"),
    (1, "setuptools"),
    (-1, "setuptools"),
    (0, "six"),
    (6, "python-dateutil"),
    (-1, "urllib3"),
    (1, "python-dateutil"),
    (3, "six"),
    (-1, "pytz"),
    (10, "python-dateutil"),
    (7, "pytz"),
    (-1, "pyparsing"),
    (5, "kiwisolver"),
    (1, "cycler"),
    (12, "kiwisolver"),
    (-1, "sqlalchemy"),
    (17, "cycler"),
    (19, "matplotlib"),
    (-1, "werkzeug"),
    (21, "click"),
    (13, "pandas"),
    (8, "chardet"),
    (11, "sqlparse"),
    (-1, "markupsafe"),
    (1, "urllib3"),
    (4, "python-dateutil"),
    (1, "mock"),
    (20, "pytz"),
    (2, "six"),
    (0, "pytz"),
    (16, "urllib3"),
    (-1, "sqlparse"),
    (6, "cycler"),
    (0, "sqlalchemy"),
    (14, "sqlalchemy"),
    (15, "pytz"),
];
