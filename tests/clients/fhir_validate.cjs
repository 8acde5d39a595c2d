// Driven by test_fhir.py: the faults of each FHIR R4 resource on standard input (one a line), as one JSON array a line.

const { createInterface } = require("node:readline");
const { Fhir } = require("fhir");

const fhir = new Fhir();
createInterface({ input: process.stdin }).on("line", (line) => {
  const { messages } = fhir.validate(JSON.parse(line), { errorOnUnexpected: true });
  const faults = messages.filter(({ severity }) => severity === "error" || severity === "fatal");
  console.log(JSON.stringify(faults.map(({ location, message }) => `${location}: ${message}`)));
});
