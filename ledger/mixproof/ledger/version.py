"""The version of mixproof that every manifest records. A test checks that it equals the package's version."""

VERSION = "0.1.0"
