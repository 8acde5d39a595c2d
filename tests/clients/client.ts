/** Driven by test_typescript_client.py: one picture after the other, typed answers printed as JSON. */

import { readFileSync } from "node:fs";
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

type Prediction = components["schemas"]["Prediction"];
type Problem = components["schemas"]["Problem"];

const [url = "", key = "", ...pictures] = process.argv.slice(2);
// FHIR is not asked for here, so it is none of the types.
const client = createClient<paths, "application/json" | "application/problem+json">({ baseUrl: url, headers: { Authorization: `Bearer ${key}` } });

async function send(path: string): Promise<{ status: number; prediction?: Prediction; problem?: Problem }> {
  const { data, error, response } = await client.POST("/v1/predictions", {
    body: { image: "" },
    bodySerializer: () => {
      const form = new FormData();
      form.append("image", new Blob([readFileSync(path)]), "lesion");
      return form;
    },
  });
  return { status: response.status, ...(data && { prediction: data }), ...(error && { problem: error }) };
}

for (const path of pictures) {
  const { status, prediction, problem } = await send(path);
  // Both are read by their types: another name or kind does not compile.
  const refer: boolean | null | undefined = prediction?.decision.refer;
  const diagnosis: components["schemas"]["Diagnosis"] | null | undefined = prediction?.diagnosis;
  const kind: Problem["type"] | undefined = problem?.type;
  console.log(JSON.stringify({ status, refer, diagnosis, advice: prediction?.decision.status, kind, detail: problem?.detail }));
  if (prediction) {
    const { data } = await client.GET("/v1/predictions/{id}", {
      params: { path: { id: prediction.id }, query: { operating_point: "high-sensitivity", prevalence: 0.05 } },
    });
    console.log(JSON.stringify({ point: data?.decision.operating_point, prevalence: data?.decision.prevalence }));
  }
}
