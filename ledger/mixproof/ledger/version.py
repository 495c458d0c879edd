"""The version of mixproof that stands in every manifest; a test holds it equal to the package's."""

VERSION = "0.1.0"
