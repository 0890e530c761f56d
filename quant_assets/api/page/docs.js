// The API as its OpenAPI document describes it, drawn by Swagger UI, which is shipped: nothing is asked of another server,
// and no script of another server runs where a key is typed in.

const kept = localStorage.getItem("quant-assets-theme");
const dark = kept === "dark" || (kept !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
document.documentElement.classList.toggle("dark-mode", dark);

window.SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#docs",
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  docExpansion: "list",
  tryItOutEnabled: true,
  validatorUrl: null,
});
