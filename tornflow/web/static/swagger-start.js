// Kept out of the page so that the page can forbid inline scripts.
window.addEventListener("load", () => {
  window.ui = SwaggerUIBundle({
    url: "/openapi.json",
    dom_id: "#swagger",
    deepLinking: true,
    docExpansion: "list",
    validatorUrl: null,
  });
});
